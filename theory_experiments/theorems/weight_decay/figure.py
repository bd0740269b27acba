"""Margins against time, departures against 1/λ, and the direction of the end against 1/λ."""

import math

import torch
from matplotlib.figure import Figure

from theory_experiments.theorems.weight_decay.config import Config
from theory_experiments.theorems.weight_decay.departure import end_margin, predicted_departure
from theory_experiments.theorems.weight_decay.measurement import Data
from theory_experiments.theorems.weight_decay.unequal_counts import limit_constant
from ulpm.plotting import style

__all__ = ["plot"]


def plot(config: Config, data: Data) -> Figure:
    """Margins against time, departures against 1/λ, and the direction of the end against 1/λ."""
    figure = style.new_figure(14, 4.8, "Weight decay · $K$ = 4, $n$ = 5 · right: counts " + str(config.counts))
    left, middle, right = figure.subplots(1, 3)
    unit = math.log(10)
    for each, color in zip(data.ray, style.COLORS, strict=False):
        time = each.log_time[:, 0] / unit
        left.plot(time, each.decayed[:, 0], color=color, label=rf"$\lambda$ = {style.number(each.decay)}")
        left.axhline(end_margin(each.decay), **style.THEORY | {"color": color, "linewidth": 0.8})
    last_one = data.ray[-1]
    left.plot(
        last_one.log_time[:, 0] / unit, last_one.undecayed[:, 0], color="0.6", linewidth=3, zorder=1, label="no decay"
    )
    left.set(xlabel=style.TIME_LABEL, ylabel="margin $q$")
    x = torch.tensor([-math.log10(each.decay) for each in data.ray])
    middle.plot(x, [float(each.at[0]) / unit for each in data.ray], "o", color=style.COLORS[0], label="collapsed start")
    for b in range(config.followed):
        label = "random starts" if b == 0 else None
        looks = {"color": style.COLORS[1], "markersize": 4, "label": label}
        middle.plot(x, [float(each.at[b]) / unit for each in data.random], "x", **looks)
    predicted = [predicted_departure(each.decay) / unit for each in data.ray]
    middle.plot(x, predicted, **style.THEORY, label=r"$2\lambda(q-1)t=1.594$")
    middle.set(xlabel=r"$\log_{10}\,1/\lambda$", ylabel=r"$\log_{10}\,t$ of departure")
    inverse = torch.tensor([-math.log(each.decay) for each in data.far])
    right.plot(
        inverse, [each.optimum for each in data.far], "s", color=style.COLORS[2], label="ulpm.optimum", fillstyle="none"
    )
    right.plot(
        inverse, [float(each.flows.max()) for each in data.far], "x", color=style.COLORS[1], label="ends of flows"
    )
    logarithm = inverse - math.log(sum(config.counts))
    right.plot(inverse, limit_constant(config)[0] / logarithm, **style.THEORY, label="theory")
    right.set(
        xscale="log", yscale="log", xlabel=r"$\log\,1/\lambda$", ylabel="distance of the logits' direction from SELI"
    )
    for axes in (left, middle, right):
        axes.legend(fontsize=8, frameon=False)
        style.finish(axes)
    return figure
