"""A network's metrics at two snapshots, and what the model forecasts of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from ulpm import _checks
from ulpm.forecasting import PAPER, Forecast
from ulpm.plotting import style
from ulpm.plotting.house import house_style
from ulpm.plotting.legends import legend_below
from ulpm.plotting.metrics import FORMULAS
from ulpm.plotting.style import COLORS

__all__ = ["plot_forecast"]

_LOOKS: dict[str, tuple[str, style.LineStyle]] = {"plain": (COLORS[1], "-."), "mobile": (COLORS[0], "-")}
_CONSTANT: dict[str, Any] = {"color": "0.55", "linewidth": 1.2, "linestyle": ":"}


@house_style()
def plot_forecast(forecast: Forecast) -> Figure:
    """The six quantities of Ji et al. (2022) against the epoch: measured twice, then as the model's flow goes on.

    Points are the snapshots, lines the flow itself and that of features that move c times faster, dots on them the
    epochs asked for. The dotted line is the forecast that nothing changes.
    """
    _checks.instance("forecast", forecast, Forecast)
    figure = style.new_figure(12.5, 6.8, "Forecast by the flow of the unconstrained model")
    panels = figure.subplots(2, 3)
    for axes, name in zip(panels.flat, PAPER, strict=True):
        _panel(axes, forecast, name)
    labels = {
        "plain": "the model itself",
        "mobile": f"features {forecast.flows['mobile'].mobility:.3g} times faster",
    }
    handles = [Line2D([], [], color="black", marker="o", linestyle="none", label="measured")]
    handles += [Line2D([], [], color=c, linestyle=s, label=labels[name]) for name, (c, s) in _LOOKS.items()]
    handles.append(Line2D([], [], **_CONSTANT, label="nothing changes"))
    legend_below(figure, handles, 10)
    return figure


def _panel(axes: Axes, forecast: Forecast, name: str) -> None:
    start, end = forecast.epochs
    for which, (color, line) in _LOOKS.items():
        flow = forecast.flows[which]
        curve = flow.curve
        values = curve.metrics[name]
        axes.plot(curve.flow_time / flow.time_per_epoch, values, color=color, linestyle=line, linewidth=1.6)
        axes.plot(forecast.at, flow.metrics[name], ".", color=color, markersize=8)
    axes.plot([end, forecast.at[-1]], [forecast.second[name]] * 2, **_CONSTANT)
    axes.plot([start, end], [forecast.first[name], forecast.second[name]], "o", color="black")
    axes.set_title(name, fontsize=10, family="monospace")
    axes.set_ylabel(FORMULAS[name], fontsize=9)
    axes.set_xlabel("epoch")
    axes.set_xscale("log" if start > 0 else "linear")
    axes.set_xticks(_apart([start, end, *forecast.at], start > 0))
    axes.xaxis.set_major_formatter(lambda epoch, _: f"{epoch:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    drawn = [line for line in axes.lines if np.isfinite(np.asarray(line.get_ydata(), dtype=float)).any()]
    style.finish(axes)
    style.value_axis(axes, drawn)


def _apart(epochs: Sequence[float], logarithmic: bool) -> list[float]:
    """Those epochs, from the last one back, whose labels have room."""
    places = np.log(epochs) if logarithmic else np.array(epochs)
    room = 0.09 * (places[-1] - places[0])
    kept = [len(epochs) - 1]
    for i in range(len(epochs) - 2, -1, -1):
        if places[kept[-1]] - places[i] > room:
            kept.append(i)
    return [epochs[i] for i in reversed(kept)]
