"""Ends against decay, approaches to an end, and plain and smoothed labels with equal decay."""

import math

import torch
from matplotlib.figure import Figure

import ulpm
from theory_experiments.numerics.decayed_ends import Setting, closed_margin
from theory_experiments.numerics.finite_ends import last
from theory_experiments.theorems.label_smoothing.config import SIZE, Config
from theory_experiments.theorems.label_smoothing.measurement import Data
from ulpm.plotting import style

__all__ = ["plot"]


def plot(config: Config, data: Data) -> Figure:
    """Ends against decay, approaches to an end, and plain and smoothed labels with equal decay."""
    K, n, d = SIZE
    figure = style.new_figure(14, 4.8, f"Label smoothing · $K$ = {K}, $n$ = {n}, $d$ = {d}")
    left, middle, right = figure.subplots(1, 3)
    fine = torch.logspace(-4, 0.6, 200, dtype=torch.float64).tolist()
    for i, smoothing in enumerate(config.smoothings):
        line = [closed_margin(Setting(K, n, d, x, 4.0, smoothing).problem) for x in fine]
        color = style.COLORS[i]
        left.plot([x * (1 - smoothing) for x in fine], line, **style.THEORY | {"color": color})
        own = [path for path in data.ends if path.problem.loss == ulpm.CrossEntropy(smoothing)]
        x = [strength * (1 - smoothing) for strength in config.strengths]
        margins = [float(last(path.margin).max()) for path in own]
        left.plot(x, margins, "os^"[i % 3], color=color, fillstyle="none", label=rf"$\alpha$ = {smoothing:g}")
    plain = [closed_margin(Setting(K, n, d, x).problem) for x in fine]
    left.plot(fine, plain, color="0.6", zorder=1, label=r"$\alpha$ = 0")
    left.set(xscale="log", xlabel=r"$Kc,\ c=\sqrt{n\lambda_W\lambda_H}$", ylabel="margin $q$ at the end")
    for i, each in enumerate(each for each in data.approaches if "slowest" in each.name):
        color = style.COLORS[i]
        scaled = each.distance / each.distance[0]
        middle.plot(each.time, scaled, color=color, label=each.name)
        middle.plot(each.time, (-each.rate * each.time).exp(), **style.THEORY | {"color": "0"})
    middle.set(yscale="log", xlim=(0, 150), ylim=(1e-6, 2), xlabel="flow time $t$")
    middle.set_ylabel("distance of the logits from the end / that at $t=0$")
    for path, color in zip(data.rays[-1], ("0.6", style.COLORS[len(config.smoothings) - 1]), strict=True):
        smoothing, decay = path.problem.loss.record()["label_smoothing"], path.problem.weight_decay[0]
        label = rf"$\alpha$ = {smoothing:g}, $\lambda$ = {style.number(decay)}"
        right.plot(path.log_time / math.log(10), path.margin, color=color, label=label)
        right.axhline(closed_margin(path.problem), **style.THEORY)
    right.set(xlim=(-1, 4), xlabel=style.TIME_LABEL, ylabel="margin $q$")
    for axes in (left, middle, right):
        axes.legend(fontsize=8, frameon=False)
        style.finish(axes)
    return figure
