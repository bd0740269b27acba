"""The figure of a comparison: every metric of the network and of the flows on one clock."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from real_experiments.comparison.curves import Clock, Curve, network_curve
from real_experiments.comparison.pairing import OWN, OWN_MOBILE, RANDOM, RANDOM_MOBILE, Comparison
from ulpm.plotting import FORMULAS, house_style, legend_below, style

__all__ = ["LOOKS", "plot_comparison"]

NETWORK: dict[str, Any] = {"color": "black", "linewidth": 1.3, "marker": "o", "markersize": 3.2}
CONTROL: dict[str, Any] = {"color": style.COLORS[2], "linewidth": 1.0, "marker": "^", "markersize": 3.2}
# Colour and width: how fast features move; dots: a random start.
_MODEL: dict[str, Any] = {"color": style.COLORS[1], "linewidth": 1.8}
_MOBILE: dict[str, Any] = {"color": style.COLORS[0], "linewidth": 2.6}
_DOTTED: dict[str, Any] = {"linestyle": (0, (1.2, 1.2))}
LOOKS: dict[str, dict[str, Any]] = {
    OWN: _MODEL,
    OWN_MOBILE: _MOBILE,
    RANDOM: _MODEL | _DOTTED,
    RANDOM_MOBILE: _MOBILE | _DOTTED,
}
# Curves are cut off beyond this factor of the network's range, since they would flatten all others.
_ROOM = 6.0
_COLUMNS = 6


@house_style()
def plot_comparison(comparison: Comparison, clock: Clock) -> Figure:
    """Each compared metric against the mean training loss, which falls to the right, or against the flow time.

    The loss of a network rises in some epochs. Its metrics are drawn against the lowest loss so far, so that no line
    folds back. The first row holds the quantities of Ji et al. (2022).
    """
    run, curves = comparison.run, {"network": comparison.network, **comparison.flows}
    if comparison.control is not None:
        curves["control"] = network_curve(comparison.control.rows)
    rows = math.ceil(len(comparison.compared) / _COLUMNS)
    figure = style.new_figure(17, 0.9 + 2.7 * rows, f"{run.name}: the network and the model")
    panels = list(figure.subplots(rows, _COLUMNS, squeeze=False).flat)
    label = "mean training loss, lowest so far" if clock == "train_loss" else "flow time $t$"
    for i, (axes, name) in enumerate(zip(panels, comparison.compared, strict=False)):
        _metric_panel(axes, curves, comparison, name, clock)
        axes.set_ylabel(FORMULAS[name], fontsize=9)
        if i + _COLUMNS >= len(comparison.compared):
            axes.set_xlabel(label)
    for axes in panels[len(comparison.compared) :]:
        axes.set_axis_off()
    legend_below(figure, _legend(comparison), fontsize=10)
    return figure


def _metric_panel(axes: Axes, curves: dict[str, Curve], comparison: Comparison, name: str, clock: Clock) -> None:
    looks = {"network": NETWORK, "control": CONTROL, **LOOKS}
    axes.axvline(comparison.snapshot_row[clock], **style.THEORY)
    for which, curve in curves.items():
        if name not in curve.metrics:  # a control of an earlier version
            continue
        x, y = _falling(curve.clock(clock)) if clock == "train_loss" else curve.clock(clock), curve.metrics[name]
        drawn = np.isfinite(x) & (x > 0) & (y > 0)
        axes.plot(x[drawn], y[drawn], **looks[which], zorder=3 if which == "network" else 2)
    axes.set_xscale("log")
    axes.set_yscale("log")
    seen = comparison.network.clock(clock)
    axes.set_xlim(seen.min(), seen.max())
    axes.xaxis.set_minor_formatter(NullFormatter())
    if clock == "train_loss":
        axes.invert_xaxis()
    kept = [comparison.network.metrics[name], *(comparison.flows[flow].metrics[name] for flow in (OWN, OWN_MOBILE))]
    axes.set_ylim(_limits(kept, comparison.network.metrics[name]))
    axes.set_title(name, fontsize=10 if len(name) < 24 else 8.5, family="monospace")
    style.log_ticks(axes)
    style.finish(axes)


def _falling(loss: np.ndarray) -> np.ndarray:
    """The lowest loss so far; what is not known is left out."""
    return np.where(np.isnan(loss), np.nan, np.fmin.accumulate(loss))


def _limits(kept: Sequence[np.ndarray], network: np.ndarray) -> tuple[float, float]:
    """A range that shows the network, and the flows unless they are far away."""
    values = np.concatenate(kept)
    values, network = values[values > 0], network[network > 0]
    low = max(float(values.min()), float(network.min()) / _ROOM)
    high = min(float(values.max()), float(network.max()) * _ROOM)
    return low / 1.15, high * 1.15


def _legend(comparison: Comparison) -> list[Line2D]:
    c = style.number(comparison.mobility)
    words = {
        OWN: f"model from the network's own $(W,H)$ at epoch {comparison.snapshot}",
        OWN_MOBILE: f"the same, features {c} times faster",
        RANDOM: "model from random $(W,H)$ of the norms of the first snapshot",
        RANDOM_MOBILE: "random start, features equally fast",
    }
    entries = [Line2D([], [], **NETWORK, label="network")]
    entries += [Line2D([], [], **LOOKS[name], label=text) for name, text in words.items()]
    if comparison.control is not None:
        how = comparison.control.recipe.deviation() or "the same recipe"
        entries.append(Line2D([], [], **CONTROL, label=f"control: {how}"))
    what = "zero training error" if comparison.run.epoch_without_error() == comparison.snapshot else "snapshot"
    return [*entries, Line2D([], [], **style.THEORY, label=f"{what}, epoch {comparison.snapshot}")]
