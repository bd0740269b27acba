"""Cosines of rare classes against R, why they merge, and where descent ends."""

import math

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from theory_experiments.numerics.minority_curves import seli_cosine
from theory_experiments.theorems.minority_collapse.config import MODELS, Config
from theory_experiments.theorems.minority_collapse.measurement import Data, Search
from ulpm.plotting import style

__all__ = ["plot"]


def plot(config: Config, data: Data) -> Figure:
    """Left: cosines against R. Middle: why they merge. Right: where descent from random starts ends."""
    K = config.majority + config.minority
    figure = style.new_figure(
        14,
        4.8,
        f"Minority collapse · $K_A$ = {config.majority}, $K_B$ = {config.minority}, "
        f"$E_W$ = {config.energies[0]:g}, $E_H$ = {config.energies[1]:g}, "
        f"$\\lambda_W$ = $\\lambda_H$ = {style.number(config.decays[0])}",
    )
    left, middle, right = figure.subplots(1, 3)
    R = torch.tensor(config.ratios, dtype=torch.float64)
    fine = torch.logspace(0, math.log10(max(config.ratios)), 200, dtype=torch.float64)
    left.plot(R, data.margin_problem.cosines, "D", color=style.COLORS[2], markersize=4, label="(c) margin problem")
    left.plot(fine, seli_cosine(fine, config.majority, config.minority), **style.THEORY, label="(c) closed form")
    for (name, model), color, marker in zip(MODELS.items(), style.COLORS, "os", strict=False):
        curve = data.curves[name]
        left.plot(R, curve.cosines, marker + "-", color=color, markersize=4, label=model)
        middle.plot(R, curve.savings, marker + "-", color=color, markersize=4, label=model)
        for axes in (left, middle):
            axes.axvline(_crossing(R, curve.savings), color=color, linestyle=":", linewidth=1.2)
        _plot_search(right, config, data.searches[name], model, color, marker)
    left.axhline(-1 / (K - 1), **style.THEORY | {"linewidth": 0.8})
    left.annotate("$-1/(K-1)$", (3, -1 / (K - 1)), xytext=(0, -12), textcoords="offset points", fontsize=8)
    left.set(
        xscale="log", ylim=(-0.5, 1.08), xlabel="imbalance $R=n_A/n_B$", ylabel="cosine of two minority classifiers"
    )
    middle.axhline(1, **style.THEORY, label="merged below")
    middle.set(xscale="log", yscale="log", xlabel="imbalance $R=n_A/n_B$")
    middle.set_ylabel("most that a rare class can save / price of the norm")
    for axes, corner in ((left, "lower right"), (middle, "upper right"), (right, "upper right")):
        axes.legend(fontsize=8, frameon=False, loc=corner)
        style.finish(axes)
    return figure


def _crossing(R: Float[Tensor, " R"], savings: Float[Tensor, " R"]) -> float:
    """The ratio where savings fall to 1, interpolated between the solved ones; nan if nowhere."""
    below = (savings <= 1).nonzero()
    if not len(below) or not int(below[0]):
        return math.nan
    i = int(below[0])
    x, y = R[i - 1 : i + 1].log(), savings[i - 1 : i + 1].log()
    return float((x[0] - y[0] * (x[1] - x[0]) / (y[1] - y[0])).exp())


def _plot_search(axes: Axes, config: Config, search: Search, model: str, color: str, marker: str) -> None:
    side = 0.93 if marker == "o" else 1.07
    for i, R in enumerate(config.searched):
        height = search.excess[i].clamp(min=1e-16)
        x = torch.full_like(height, R * side)
        label = model if i == 0 else None
        axes.plot(x, height, marker, color=color, markersize=4, alpha=0.6, markerfacecolor="none", label=label)
    if color == style.COLORS[0]:
        top = max(1e-6, 10 * float(search.excess.max()))
        axes.axhline(1e-9, **style.THEORY, label="bound of the claim")
        axes.set(xscale="log", yscale="log", ylim=(5e-17, top), xlabel="imbalance $R=n_A/n_B$")
        axes.set_ylabel("value where descent ends / optimum − 1")
        style.note(axes, f"{config.starts} random starts each", 0.04, 0.94)
