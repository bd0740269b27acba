"""Logits, variability and self-duality against time, sharp constants, and the value."""

import math

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from theory_experiments.numerics import seli
from theory_experiments.theorems.imbalance.config import Config
from theory_experiments.theorems.imbalance.measurement import Data, Imbalance
from ulpm.plotting import style

__all__ = ["plot"]

_LINE_STYLES: tuple[style.LineStyle, ...] = ("-", (0, (1.2, 1.2)), "-.")


def plot(config: Config, data: Data) -> Figure:
    """Logits, variability and self-duality against time above; sharp constants and the value below."""
    runs = [
        style.Run(one.path, f"1:{one.ratio}", color, line_style)
        for one, color, line_style in zip(data, style.COLORS, _LINE_STYLES, strict=False)
    ]
    figure = style.new_figure(
        15,
        8.4,
        f"Imbalance · {config.majority} frequent and {config.minority} rare classes of {config.minority_count}, "
        f"$d$ = {config.feature_dim} · {config.starts} starts each (median, and band from least to greatest)",
    )
    panels = figure.subplots(2, 3)
    for one, run in zip(data, runs, strict=True):
        _plot_run(panels, one, run)
    labels = (
        (panels[0, 0], "distance of the logits from $I-11^\\top/K$"),
        (panels[0, 1], "nc1_pinv"),
        (panels[0, 2], "nc3_difference"),
        (panels[1, 0], r"$|\rho^2/(2v^*\log t)-1|$"),
        (panels[1, 1], r"$|L\,t\,\log t\,/\,(v^*/2)-1|$"),
    )
    for axes, label in labels:
        style.time_axis(axes, runs)
        axes.set(yscale="log", ylabel=label)
    panels[0, 0].set_ylim(bottom=1e-9)
    _plot_values(panels[1, 2], config, data)
    for axes in panels.flat:
        axes.plot([], [], **style.THEORY, label="theory")
        axes.legend(fontsize=8, frameon=False)
        style.finish(axes)
    return figure


def _plot_run(panels: np.ndarray, one: Imbalance, run: style.Run) -> None:
    """The curves of one imbalance, and the predicted lines."""
    path, v, log_time = one.path, one.separation.value, one.path.log_time[:, 0].numpy()
    style.draw(panels[0, 0], run, one.logits_distance.clamp(min=1e-16), label=run.label)
    style.draw(panels[0, 1], run, path.metrics["nc1_pinv"], label=run.label)
    style.draw(panels[0, 2], run, path.metrics["nc3_difference"], label=run.label)
    late = log_time > 30
    x = run.log10_time[late]
    if one.ratio > 1:
        panels[0, 0].plot(x, one.logits_constant / log_time[late], **style.THEORY)
        panels[0, 1].plot(x, float(one.variability_constant.quantile(0.5)) / log_time[late] ** 2, **style.THEORY)
        panels[0, 2].axhline(one.limits["nc3_difference"], **style.THEORY)
    positive = path.log_time > 1
    ratios = path.squared_norm / path.log_time / (2 * v), (path.log_loss + path.log_time).exp() * path.log_time / v * 2
    for axes, ratio in zip(panels[1], ratios, strict=False):
        style.draw(axes, run, torch.where(positive, (ratio - 1).abs(), torch.nan), label=run.label)
        if one.ratio == 1:
            counts = path.problem.num_samples
            size = np.log(log_time[late]) + math.log((path.problem.num_classes - 1) * counts) + counts / v
            axes.plot(x, 2 * size / log_time[late], **style.THEORY)


def _plot_values(axes: Axes, config: Config, data: Data) -> None:
    """v*/√n_B against the imbalance."""
    ratios = torch.logspace(0, math.log10(max(2, *config.ratios)), 60, dtype=torch.float64)
    K, equal = config.majority + config.minority, []
    closed = []
    for R in ratios:
        counts = torch.tensor([float(R)] * config.majority + [1.0] * config.minority, dtype=torch.float64)
        closed.append(float(torch.linalg.svdvals(seli.centred(K) * counts.sqrt()).sum()))
        equal.append((K - 1) * math.sqrt(float(counts.mean())))
    root = math.sqrt(config.minority_count)
    values = [one.separation.value / root for one in data]
    axes.plot(config.ratios, values, "o", color=style.COLORS[0], label="relaxation")
    axes.plot(ratios, closed, **style.THEORY)
    axes.plot(ratios, equal, color=style.COLORS[1], linewidth=1.2, label="equal counts, same $N$")
    axes.set(xscale="log", yscale="log", xlabel="imbalance $R$", ylabel=r"$v^*/\sqrt{n_B}$")
