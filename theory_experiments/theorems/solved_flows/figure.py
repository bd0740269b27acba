"""The figure of the solved flows: errors of the ray, singular values, the Lyapunov function, constants of losses."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from theory_experiments.numerics import hadamard, rays
from theory_experiments.theorems.solved_flows.config import Config
from theory_experiments.theorems.solved_flows.losses import Constants
from theory_experiments.theorems.solved_flows.measurement import Data
from theory_experiments.theorems.solved_flows.ray import Ray
from theory_experiments.theorems.solved_flows.singular_values import Diagonal
from ulpm.plotting import style

__all__ = ["plot"]

_LN10 = math.log(10)
_FLOOR = 1e-16
_SHOWN = 10  # starts of each K in the panel of Λ


def plot(config: Config, data: Data) -> Figure:
    """Errors of the ray and of σ, the Lyapunov function, and the constants with their next terms.

    A panel that has no data says so.
    """
    figure = style.new_figure(13, 9, f"Flows that are solved exactly · {config.starts} starts each")
    panels = figure.subplots(2, 2).ravel()
    _draw_errors(panels[0], data.rays)
    if data.diagonals:
        _draw_singular(panels[1], data.diagonals[min(1, len(data.diagonals) - 1)])
    _draw_levels(panels[2], data.diagonals)
    _draw_constants(panels[3], data.constants)
    for axes in panels:
        style.finish(axes)
    return figure


def _draw_errors(axes: Axes, curves: Sequence[Ray]) -> None:
    sizes = list(dict.fromkeys(each.path.problem.num_classes for each in curves))
    tolerances = list(dict.fromkeys(each.rtol for each in curves))
    for each in curves:
        late = each.path.log_time.amin(1).cpu() >= math.log(100)
        x = each.path.log_time.amin(1).cpu()[late].numpy() / _LN10
        coarse = each.rtol == tolerances[0]
        axes.plot(
            x,
            np.maximum(each.errors()["log L"].max(1)[late.numpy()], _FLOOR),
            color=style.COLORS[sizes.index(each.path.problem.num_classes)],
            linestyle="-" if coarse else (0, (1.2, 1.2)),
            linewidth=1.5,
            label=f"K = {each.path.problem.num_classes}" if coarse else None,
        )
    for rtol in tolerances:
        end = float(curves[0].path.log_time[-1].max()) / _LN10
        axes.plot([2, end], [max(rtol, 5e-9)] * 2, **style.THEORY)
        axes.plot([end], [max(1e-5 * rtol, 1e-13)], marker="v", color="0.25", clip_on=False, linestyle="none")
        style.note(axes, f"bound, rtol = {style.number(rtol)}", 0.99, 0, ha="right", va="bottom")
        axes.texts[-1].set_transform(axes.get_yaxis_transform())
        axes.texts[-1].set_y(1.3 * max(rtol, 5e-9))
    axes.plot([], [], marker="v", color="0.25", linestyle="none", label="bound at the end")
    axes.set(xscale="log", yscale="log", ylim=(1e-19, 2e-5), xlabel=style.TIME_LABEL)
    axes.set_ylabel(r"relative error of $\log L$, largest")
    axes.set_title("Collapsed ray against its closed form (dotted: the finer tolerance)", fontsize=10)
    if curves:
        axes.legend(fontsize=9, frameon=False, ncols=2, loc="lower left")


def _draw_singular(axes: Axes, one: Diagonal) -> None:
    """The start whose σ are most unequal."""
    K, n = one.path.problem.num_classes, one.path.problem.class_counts[0]
    b = int(hadamard.lyapunov(one.sigma[0]).argmax())
    x = one.path.log_time[:, b].numpy(force=True)
    shown = slice(1, len(one.solved))
    for s in range(K - 1):
        color = style.COLORS[s % len(style.COLORS)]
        axes.plot(x[shown] / _LN10, one.solved[shown, b, s], color=color, linewidth=1.4)
        axes.plot(
            x[1::6] / _LN10, one.sigma[1::6, b, s], color=color, marker="os^vDP*"[s % 7], markersize=5, linestyle="none"
        )
    ray = x[x > math.log(2)]
    axes.plot(ray / _LN10, rays.cross_entropy_margin(ray, 0.01, K, n), **style.THEORY)
    axes.plot([], [], "k-", linewidth=1.4, label="equation of $\\sigma$")
    axes.plot([], [], "ko", markersize=5, label="flow of $W$ and $H$")
    axes.plot([], [], **style.THEORY, label="collapsed ray")
    axes.set(
        xscale="log", yscale="log", xlabel=style.TIME_LABEL, ylabel=r"singular values $\sigma_s$", xlim=(0.05, None)
    )
    axes.set_title(f"A Hadamard start, {style.sizes(one.path.problem)}", fontsize=10)
    axes.legend(fontsize=9, frameon=False, loc="upper left")


def _draw_levels(axes: Axes, diagonals: Sequence[Diagonal]) -> None:
    """Λ of all starts against the mean of σ, in which its law is a straight line."""
    for i, each in enumerate(diagonals):
        K, color = each.path.problem.num_classes, style.COLORS[i]
        x, y = each.sigma.mean(-1) / K, hadamard.lyapunov(each.sigma).clamp(min=1e-20)
        shown = [*range(min(_SHOWN, x.shape[1])), -1]
        axes.plot(x[:, shown], y[:, shown], color=color, linewidth=0.9, alpha=0.7)
        axes.plot([], [], color=color, label=f"$\\Lambda$, $K$ = {K}")
        if K == 16:
            axes.plot(x[:, -1], hadamard.log_ratio(each.sigma[:, -1]), color="k", linestyle=(0, (1.2, 1.2)))
            axes.plot(
                [], [], "k", linestyle=(0, (1.2, 1.2)), label=r"$\log(\max\sigma/\min\sigma)$, one start of $K$ = 16"
            )
    x = torch.linspace(1, 12, 2)
    axes.plot(x, 3e-6 * torch.exp(-2 * (x - 1)), **style.THEORY, label=r"$\propto e^{-2\bar\sigma/K}$")
    axes.set(yscale="log", xlim=(0, 20), ylim=(1e-16, 1e5))
    axes.set_xlabel(r"mean of the singular values over the number of classes, $\bar\sigma/K$")
    axes.set_ylabel(r"$\Lambda$")
    axes.set_title("Hadamard starts: a function that never increases", fontsize=10)
    axes.legend(fontsize=9, frameon=False, loc="upper right")


def _draw_constants(axes: Axes, constants: Sequence[Constants]) -> None:
    for i, each in enumerate(constants):
        x = each.log_time / _LN10
        axes.plot(x[::3], np.abs(each.loss)[::3], "os^"[i], color=style.COLORS[i], markersize=5, label=f"{each.name}")
        axes.plot(x, np.abs(each.loss_term), **style.THEORY)
    axes.plot([], [], **style.THEORY, label="next term of the expansion")
    axes.set(xscale="log", yscale="log", xlabel=style.TIME_LABEL)
    axes.set_ylabel(r"$|L\,t\,\log t - v^*/(2\kappa)|$, relative")
    axes.set_title(r"Constants of other losses along the ray, $K$ = 4, $n$ = 5", fontsize=10)
    axes.legend(fontsize=9, frameon=False)
