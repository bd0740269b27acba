"""The figure of the lowest loss: log L above that of collapse, against the norm and against the distance."""

from collections.abc import Mapping, Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

import ulpm
from theory_experiments.numerics import collapse_on_sphere
from theory_experiments.numerics.collapse_on_sphere import value
from theory_experiments.theorems.lowest_loss.config import Config
from theory_experiments.theorems.lowest_loss.measurement import Tried
from ulpm.plotting import style

__all__ = ["plot"]

_SHOWN = (
    "unequal norms",
    "random classifier, fitted features",
    "one row tilted",
    "block points",
    "SELI of other counts",
    "flows stopped early",
)
_LEAST = 1e-5  # below it the axis of the excess is linear, so that it can show 0
_LABEL = r"$\log L - \log L_{\rm collapse}$"


def plot(config: Config, data: tuple[Tried, ...]) -> Figure:
    """Left: log L above that of collapse against ρ², by family. Right: against the distance from collapse."""
    shown = max(data, key=lambda tried: (tried.problem.num_classes == 4, tried.problem.num_samples))
    rho_squared = [collapse_on_sphere.norm(shown.problem, q) ** 2 for q in config.margins]
    return _draw(
        shown.problem,
        torch.tensor(rho_squared, dtype=torch.float64),
        {each.family: (each.share, each.excess) for each in shown.compared if len(each.share)},
        [(each.kind, each.q, each.stiffness, each.distance, each.excess) for each in shown.near],
    )


def _draw(
    problem: ulpm.Problem,
    rho_squared: Tensor,
    families: Mapping[str, tuple[Tensor, Tensor]],
    near: Sequence[tuple[str, float, float, Tensor, Tensor]],
) -> Figure:
    """``families``: γ/γ* [B] and excess [M, B] by name, at ``rho_squared`` [M].

    ``near``: (kind, q, stiffness, relative distances [B], excesses [B]) of points near collapse.
    """
    figure = style.new_figure(12.0, 5.4, f"No direction has a lower loss than collapse · {style.sizes(problem)}")
    left, right = figure.subplots(1, 2)
    _draw_families(left, problem, rho_squared, families)
    _draw_second_order(right, near)
    for axes in (left, right):
        style.finish(axes)
    left.set_yscale("symlog", linthresh=_LEAST, linscale=0.4)
    left.set_ylim(bottom=-0.7 * _LEAST)
    return figure


def _draw_families(
    axes: Axes, problem: ulpm.Problem, rho_squared: Tensor, families: Mapping[str, tuple[Tensor, Tensor]]
) -> None:
    shown = [family for family in _SHOWN if family in families]
    for family, color, marker in zip(shown, style.COLORS, "v^PsDo", strict=False):
        _, excess = families[family]
        axes.plot(
            rho_squared,
            excess.quantile(0.5, dim=1),
            f"{marker}-",
            color=color,
            markersize=4.5,
            linewidth=1,
            label=family,
        )
        low, high = (excess.quantile(share, dim=1) for share in (0.05, 0.95))
        axes.fill_between(rho_squared, low, high, color=color, alpha=0.1, linewidth=0)
    if "block points" in families:
        late = rho_squared >= 10
        slope = (1 - float(families["block points"][0].max())) / (2 * value(problem))
        label = r"$(\gamma^* - \gamma)\rho^2$ of the block point"
        axes.plot(rho_squared[late], slope * rho_squared[late], **style.THEORY, label=label)
    axes.axhline(0, color="black", linewidth=2, label="collapse")
    axes.set(xlabel=r"$\rho^2 = \|W\|^2 + \|H\|^2$", ylabel=_LABEL, xscale="log")
    axes.set_title("median of each family, bands from 5% to 95%", fontsize=9)
    axes.legend(fontsize=7.5, frameon=False, loc="lower right", bbox_to_anchor=(1.0, 0.08))


def _draw_second_order(axes: Axes, near: Sequence[tuple[str, float, float, Tensor, Tensor]]) -> None:
    margins = sorted({q for _, q, _, _, _ in near})
    looks = dict(zip(margins, zip(style.COLORS, "osD^", strict=False), strict=False))
    for kind, q, stiffness, distance, excess in near:
        color, marker = looks[q]
        if kind == "random":
            label = f"random perturbation, $q$ = {q:g}"
            axes.plot(distance, excess, marker, color=color, markersize=3, fillstyle="none", label=label)
        elif kind == "softest":
            axes.plot(distance, excess, marker, color=color, markersize=4, label=f"softest direction, $q$ = {q:g}")
            axes.plot(distance, stiffness * distance.square(), **style.THEORY)
    axes.plot([], [], **style.THEORY, label="½ least curvature × distance²")
    axes.set(xlabel=r"distance from collapse / $\rho$", ylabel=_LABEL, xscale="log", yscale="log")
    axes.set_title("frames moved along random directions and along the softest", fontsize=9)
    axes.legend(fontsize=7.5, frameon=False)
