"""The figures of the page."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ulpm.plotting.style import COLORS, THEORY

if TYPE_CHECKING:
    from evaluation import Cost
    from evaluation_cost import Law
    from work_precision import Point

LOOKS = list(
    zip(COLORS[:5], ("o", "s", "^", "D", "*"), ("-", "-.", (0, (1.2, 1.2)), (0, (6, 1.5, 1, 1.5)), "-"), strict=True)
)


def work_precision_figure(points: "Mapping[str, Sequence[Point]]", title: str) -> Figure:
    """Seconds against true error, a line a method, for the state and for log L."""
    figure = Figure(figsize=(9.2, 4.2), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    kinds = (("state_error", "error of $(W, H)$ relative to $\\rho$"), ("loss_error", "error of $\\log L$"))
    for axes, (kind, label) in zip(panels, kinds, strict=True):
        for (name, runs), (color, marker, style) in zip(points.items(), LOOKS, strict=False):
            errors = [getattr(point, kind) for point in runs]
            seconds = [point.timing.median for point in runs]
            size = 13 if marker == "*" else 5
            axes.plot(errors, seconds, color=color, marker=marker, markersize=size, linestyle=style, label=name)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.invert_xaxis()
        axes.set_xlabel(f"{label} (more accurate to the right)")
        axes.grid(alpha=0.25, linewidth=0.6)
    panels[0].set_ylabel("wall time, s (one thread)")
    panels[0].legend(frameon=False)
    figure.suptitle(title)
    return figure


def evaluation_cost_figure(costs: "Sequence[Cost]", laws: "Mapping[str, Law]", names: Mapping[str, str]) -> Figure:
    """Measured times against the fitted laws, and the field over its matrix products alone."""
    figure = Figure(figsize=(9.2, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    ends = [math.inf, 0.0]
    for kind, (color, marker, _) in zip(names, LOOKS, strict=False):
        measured = np.array([getattr(cost, kind).median for cost in costs])
        predicted = np.array([laws[kind].seconds(cost.size) for cost in costs])
        left.plot(predicted, measured, color=color, marker=marker, markersize=5, linestyle="", label=names[kind])
        ends = [min(ends[0], *measured, *predicted), max(ends[1], *measured, *predicted)]
    left.plot(ends, ends, **THEORY, label="measured = law")
    left.set_xscale("log")
    left.set_yscale("log")
    left.set_xlabel("fitted law, s")
    left.set_ylabel("measured median, s")
    left.legend(frameon=False)
    work = np.array([cost.size.multiplications for cost in costs])
    ratio = [cost.rate.median / cost.alone.median for cost in costs]
    shades = np.array([cost.size.d / cost.size.K for cost in costs])
    for (low, high, label), (color, marker, _) in zip(
        ((0, 1, "$d < K$"), (1, 20, "$K \\leq d < 20K$"), (20, math.inf, "$d \\geq 20K$")), LOOKS, strict=False
    ):
        chosen = (shades >= low) & (shades < high)
        right.plot(work[chosen], np.array(ratio)[chosen], color=color, marker=marker, linestyle="", label=label)
    right.axhline(1.0, **THEORY)
    right.set_xscale("log")
    right.set_yscale("log")
    right.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    right.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}" if f"{value:.0e}"[0] in "235" else ""))
    right.set_xlabel("$K d N$, multiplications of one matrix product")
    right.set_ylabel("field evaluation ÷ its three matrix products alone")
    right.legend(frameon=False)
    for axes in (left, right):
        axes.grid(alpha=0.25, linewidth=0.6)
    return figure
