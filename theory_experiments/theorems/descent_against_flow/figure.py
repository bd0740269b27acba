"""Distances against the rate, and loss-scaled runs compared with the flow."""

from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from theory_experiments.theorems.descent_against_flow.config import Config
from theory_experiments.theorems.descent_against_flow.measurement import Data
from theory_experiments.theorems.descent_against_flow.stability import threshold
from ulpm.plotting import style

__all__ = ["plot"]

_STARTS_SHOWN = 4


def plot(config: Config, data: Data) -> Figure:
    """Distances against the rate, and the loss-scaled runs compared with the flow."""
    heading = (
        f"Descent against flow · {style.sizes(data.flow.problem)} · {config.starts} starts (median, least to greatest)"
    )
    figure = style.new_figure(12.5, 5, heading)
    left, right = figure.subplots(1, 2)
    _plot_orders(left, config, data)
    _plot_departures(right, config, data)
    for axes in (left, right):
        axes.legend(fontsize=9, frameon=False, loc="lower left" if axes is right else "upper left")
        style.finish(axes)
    return figure


def _plot_orders(axes: Axes, config: Config, data: Data) -> None:
    series = {"distance from the flow": data.plain, f"distance, momentum {config.momentum:g}": data.momentum}
    series[r"drift of $W^\top W-HH^\top$"] = data.balancedness
    for i, (label, values) in enumerate(series.items()):
        last = values[:, -1]
        middle = last.quantile(0.5, dim=1)
        errors = torch.stack([middle - last.amin(1), last.amax(1) - middle])
        axes.errorbar(config.rates, middle, yerr=errors, fmt="osD"[i], color=style.COLORS[i], capsize=3, label=label)
        axes.plot(config.rates, middle[-1] * torch.tensor(config.rates) / config.rates[-1], **style.THEORY)
    axes.plot([], [], **style.THEORY, label="proportional to the rate")
    axes.set(
        xscale="log", yscale="log", xlabel=r"rate $\eta$", ylabel=f"relative to the flow at $t$ = {config.times[-1]:g}"
    )
    style.fix_ticks(axes, "x", config.rates)


def _plot_departures(axes: Axes, config: Config, data: Data) -> None:
    """Stationarity against the norm, the common axis of all runs, for a few starts each."""
    labels = ["gradient flow", *(f"descent with rate {rate:g}/L" for rate in config.scaled_rates)]
    for i, (label, path) in enumerate(zip(labels, [data.flow, *data.scaled], strict=True)):
        separated = torch.where(path.margin > 0, path.columns()["stationarity"], torch.nan)[:, :_STARTS_SHOWN]
        look: dict[str, Any] = {"color": style.COLORS[i], "linewidth": 2.4 if i == 0 else 1.0, "alpha": 0.8}
        lines = axes.plot(path.squared_norm[:, :_STARTS_SHOWN], separated, **look)
        lines[0].set_label(label)
        if i > 0:
            limit = threshold(config, config.scaled_rates[i - 1])
            axes.axvline(limit, **style.THEORY | {"color": style.COLORS[i]})
    axes.plot([], [], **style.THEORY, label="predicted limit of stability")
    axes.set(xscale="log", yscale="log", xlabel=r"squared norm $\rho^2$", ylabel="stationarity residual")
    axes.set_xlim(10, 2 * max(float(path.squared_norm[-1].max()) for path in data.scaled))
