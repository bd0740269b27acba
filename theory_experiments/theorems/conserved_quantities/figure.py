"""Drifts of the solver, and changes without and with weight decay."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from theory_experiments.theorems.conserved_quantities.config import Config
from theory_experiments.theorems.conserved_quantities.measurement import CONTRAST, NAMES, Data, decay_laws
from ulpm.plotting import style

__all__ = ["plot"]


def plot(config: Config, data: Data) -> Figure:
    """Left and middle: drifts of the solver's runs. Right: changes without and with weight decay."""
    runs = style.runs(data.paths)
    figure = style.new_figure(
        13, 4.6, f"Drift of the conserved quantities · {config.starts} starts each (median, least to greatest)"
    )
    panels = figure.subplots(1, 3)
    bounds = (20 * config.rtol, 2e-12)
    labels = (r"$\Vert B-B(0)\Vert/\rho^2,\ B=W^\top W-HH^\top$", r"$\Vert\Sigma_k w_k-\Sigma_k w_k(0)\Vert/\rho$")
    for axes, name, bound, label in zip(panels, NAMES, bounds, labels, strict=False):
        for run in runs:
            style.draw(axes, run, run.path.invariant_drift[name].clamp(min=1e-17), label=run.label)
        axes.axhline(bound, **style.THEORY, label="bound of the claim")
        style.time_axis(axes, runs)
        axes.set(yscale="log", ylabel=label)
    _plot_decay(panels[2], data)
    for axes in panels:
        axes.legend(fontsize=8, frameon=False)
        style.finish(axes)
    return figure


def _plot_decay(axes: Axes, data: Data) -> None:
    words = {"balancedness": r"$W^\top W-HH^\top$", "classifier_sum": r"$\Sigma_k w_k$"}
    for i, (name, law) in enumerate(decay_laws(data.times).items()):
        looks: dict[str, Any] = {"color": style.COLORS[i], "markevery": 4, "linestyle": "none"}
        axes.plot(
            data.times,
            data.decayed[name].quantile(0.5, dim=1),
            marker="os"[i],
            label=f"{words[name]}, decay {CONTRAST}",
            **looks,
        )
        axes.plot(
            data.times, data.plain[name].quantile(0.5, dim=1), marker="x+"[i], label=f"{words[name]}, no decay", **looks
        )
        axes.plot(data.times, law, **style.THEORY, label=r"$1-e^{-2\lambda t},\ 1-e^{-\lambda t}$" if i == 0 else None)
    axes.set(xlabel="flow time $t$", ylabel="change relative to its norm at $t=0$")
