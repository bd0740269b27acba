"""The paper's four panels, each with its guide ∝ 1/log t."""

import math

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from theory_experiments.theorems.simulation.config import Config
from theory_experiments.theorems.simulation.measurement import PANELS, Data, measured_exponents
from ulpm.plotting import FORMULAS, style

__all__ = ["plot"]


def plot(config: Config, data: Data) -> Figure:
    """The paper's four panels, each with its guide ∝ 1/log t, and the exponent of each curve."""
    (run,) = style.runs([data.path])
    intervals = measured_exponents(config, data.path)
    heading = f"Neural collapse in the simulated flow · {style.sizes(data.path.problem)} · {config.starts} starts"
    span = f"exponents $a$ of $(\\log t)^a$ with 95% intervals, from $\\log t$ = {config.fit_from:.0f} on"
    figure = style.new_figure(12, 9, f"{heading}\nmedian, least to greatest; {span}; the settings are ours")
    for axes, (what, names) in zip(figure.subplots(2, 2).flat, PANELS.items(), strict=True):
        for i, name in enumerate(names):
            looks = {"color": style.COLORS[i], "linestyle": ("-", (0, (1.2, 1.2)))[i], "linewidth": (2.6, 2.2)[i]}
            label = f"{FORMULAS[name]}\n$a$ = {intervals[name]}"
            style.draw(axes, run, data.path.metrics[name], label=label, **looks)
        _draw_guide(axes, run, data.path.metrics[names[0]])
        axes.set(yscale="log", title=what, xscale="log", xlim=(1.0, config.log10_time))
        _fit_height(axes, run, [data.path.metrics[name] for name in names])
        axes.set_xlabel(r"$\log_{10}\,t$, even in $\log\log t$")
        style.fix_ticks(axes, "x", [10.0**k for k in range(int(math.log10(config.log10_time)) + 1)])
        axes.legend(fontsize=10, frameon=False, loc="lower left", labelspacing=0.8)
        style.finish(axes)
    return figure


def _draw_guide(axes: Axes, run: style.Run, values: Float[Tensor, "R B"]) -> None:
    """∝ 1/log t over the last decade and a half, at twice the curve where a decade of log t is left."""
    end = run.log10_time[-1]
    middle = style.summary(values)[1][int(abs(run.log10_time - end / 10).argmin())]
    x = np.array([end / 30, end])
    axes.plot(x, 2 * middle * (end / 10) / x, **style.THEORY, label=r"guide $\propto 1/\log t$")


def _fit_height(axes: Axes, run: style.Run, values: list[Float[Tensor, "R B"]]) -> None:
    """From the smallest value shown to the largest, with room for the legend."""
    shown = torch.cat([each[torch.as_tensor(run.log10_time >= 1)].flatten() for each in values])
    low, high = float(shown.min()), float(shown.max())
    axes.set_ylim(low / 3, 3 * high)
