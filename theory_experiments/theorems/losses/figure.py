"""Both constants against time, and the approach to a finite end."""

import math

from matplotlib.figure import Figure

from theory_experiments.numerics import rays
from theory_experiments.numerics.finite_ends import distances
from theory_experiments.theorems.losses.config import Config
from theory_experiments.theorems.losses.measurement import Data, constants
from ulpm.plotting import style

__all__ = ["plot"]


def plot(config: Config, data: Data) -> Figure:
    """Both constants against time on the left, and the approach to a finite end on the right."""
    sizes = f"$K$ = {config.classes}, $n$ = {config.samples}, $d$ = {config.dim}"
    figure = style.new_figure(14, 4.8, f"Losses without weight decay · {sizes} · {config.starts} random starts each")
    left, middle, right = figure.subplots(1, 3)
    for (gamma, (_, path)), color in zip(data.endless.items(), style.COLORS, strict=False):
        for axes, values in zip((left, middle), constants(config, gamma, path), strict=True):
            log10_time = path.log_time[1:, 0].cpu() / math.log(10)
            axes.plot(log10_time, 1 + values[1:].median(1).values, color=color, label=f"{rays.tail(gamma).name}")
    for axes, label in ((left, r"$L\,t\,\log t\;/\;(v^*/2\kappa)$"), (middle, r"$\rho^2/\log t\;/\;(2v^*/\kappa)$")):
        axes.axhline(1, **style.THEORY, label="theory")
        axes.set(xscale="log", xlim=(1, None), ylim=(0, 2.5), xlabel=style.TIME_LABEL, ylabel=label)
    for (name, ending), color in zip(data.ending.items(), style.COLORS, strict=False):
        distance, time = distances(ending.path, ending.target), ending.path.log_time.exp().cpu()
        for b in range(min(8, config.starts)):
            right.plot(time[:, b], distance[:, b], color=color, linewidth=1, label=name if b == 0 else None)
    right.set(yscale="log", xlim=(0, 100), ylim=(1e-9, 10), xlabel="flow time $t$")
    right.set_ylabel("largest distance of a logit from the end")
    for axes in (left, middle, right):
        axes.legend(fontsize=8, frameon=False)
        style.finish(axes)
    return figure
