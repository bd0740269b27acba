"""The optimum of the margin problem against K, and the bounds that approach it along flows."""

import math

import torch
from matplotlib.figure import Figure

from theory_experiments.theorems.global_minimisers.config import Config
from theory_experiments.theorems.global_minimisers.measurement import Data, shares, value
from ulpm.plotting import style

__all__ = ["plot"]


def plot(config: Config, data: Data) -> Figure:
    """Left: the optimum against K. Right: the two bounds of the records approach it."""
    figure = style.new_figure(10.5, 4.4, "The optimum of the margin problem, and the bounds along flows")
    left, right = figure.subplots(1, 2)
    counts = sorted({optimum.problem.class_counts[0] for optimum in data.optima})
    for n, marker, color in zip(counts, "osD^", style.COLORS, strict=False):
        points = {
            optimum.problem.num_classes: optimum.value * value(config, optimum.problem)
            for optimum in data.optima
            if optimum.problem.class_counts[0] == n
        }
        left.plot(list(points), list(points.values()), marker, color=color, label=f"relaxation, $n$ = {n}")
        left.plot(list(points), [(K - config.c) * math.sqrt(n) for K in points], **style.THEORY)
    left.plot([], [], **style.THEORY, label=r"$(K-1)\sqrt{n}$")
    left.set(xlabel="classes $K$", ylabel=r"value $v^*$ = min ½(‖$W$‖² + ‖$H$‖²)", yscale="log")
    for path, color in zip(data.paths, style.COLORS, strict=False):
        log_time, late = path.log_time[:, 0], path.log_time[:, 0] > 3
        for column, sign, line in (("nuclear_upper_bound", 1, "-"), ("lower_bound", -1, ":")):
            gaps = (sign * shares(config, path, column))[late].cpu()
            low, middle, high = (gaps.amin(1), gaps.quantile(0.5, dim=1), gaps.amax(1))
            label = style.sizes(path.problem) if sign > 0 else None
            right.plot(log_time[late], middle, linestyle=line, color=color, label=label)
            right.fill_between(log_time[late], low, high, color=color, alpha=0.12, linewidth=0)
    guide = torch.tensor([1e2, config.log_time])
    right.plot(guide, 1 / guide, **style.THEORY, label=r"$\propto 1/\log t$")
    right.set(
        xlabel=r"$\log\,t$  (natural logarithm of flow time)", ylabel="relative distance of a bound to $(K-1)\\sqrt{n}$"
    )
    right.set(xscale="log", yscale="log", ylim=(1e-12, 3))
    right.set_title("solid: upper bound, dotted: lower bound; median and range over starts", fontsize=9)
    for axes in (left, right):
        style.finish(axes)
        axes.legend(fontsize=8, frameon=False)
    return figure
