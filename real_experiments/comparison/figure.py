"""The figure of a comparison: every metric of the network and of the flows on one clock."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from real_experiments.comparison.curves import COMPARED, Clock, Curve, network_curve
from real_experiments.comparison.pairing import OWN, OWN_MOBILE, RANDOM, RANDOM_MOBILE, Comparison
from ulpm.plotting import legend_below, style

__all__ = ["LOOKS", "plot_comparison"]

_FORMULAS = {
    "nc1_pinv": r"$\mathrm{tr}(\Sigma_W\Sigma_B^\dagger)\,/\,K$",
    "nc1_ratio": r"$\mathrm{tr}\,\Sigma_W\,/\,\mathrm{tr}\,\Sigma_B$",
    "nc1_cdnv": r"mean $(v_j+v_k)\,/\,2\Vert\mu_j-\mu_k\Vert^2$",
    "nc0": r"$\Vert\sum{}_k\, w_k\Vert\,/\,\Vert W\Vert$",
    "nc2_norm_means": r"std / mean of $\Vert\mu_k-\mu_G\Vert$",
    "nc2_angle_means": r"mean $|\cos(\mu_j,\mu_k)+1/(K-1)|$",
    "nc2_etf_means": r"$\Vert G/\Vert G\Vert-E\,\Vert,\ G=M^\top M$",
    "nc3_difference": r"$\Vert W^\top\!/\Vert W\Vert-M/\Vert M\Vert\,\Vert$",
    "nc2_norm_classifier": r"std / mean of $\Vert w_k\Vert$",
    "nc2_angle_classifier": r"mean $|\cos(w_j,w_k)+1/(K-1)|$",
    "nc2_etf_classifier": r"$\Vert G/\Vert G\Vert-E\,\Vert,\ G=WW^\top$",
    "nc3_product": r"$\Vert WM/\Vert WM\Vert-E\,\Vert$",
}
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
# A curve that leaves the network's range by more than this factor is cut off, or it would flatten all others.
_ROOM = 6.0


def plot_comparison(comparison: Comparison, clock: Clock) -> Figure:
    """Each compared metric against the mean training loss, which falls to the right, or against the flow time."""
    run, curves = comparison.run, {"network": comparison.network, **comparison.flows}
    if comparison.control is not None:
        curves["control"] = network_curve(comparison.control.rows)
    figure = style.new_figure(15, 10, f"{run.name}: the network and the model")
    panels = list(figure.subplots(3, 4).flat)
    for axes, name in zip(panels, COMPARED, strict=True):
        _metric_panel(axes, curves, comparison, name, clock)
        axes.set_ylabel(_FORMULAS[name], fontsize=9)
    label = "mean training loss (falling)" if clock == "train_loss" else "flow time $t$"
    for axes in panels[-4:]:
        axes.set_xlabel(label)
    legend_below(figure, _legend(comparison), fontsize=10)
    return figure


def _metric_panel(axes: Axes, curves: dict[str, Curve], comparison: Comparison, name: str, clock: Clock) -> None:
    looks = {"network": NETWORK, "control": CONTROL, **LOOKS}
    axes.axvline(comparison.snapshot_row[clock], **style.THEORY)
    for which, curve in curves.items():
        x, y = curve.clock(clock), curve.metrics[name]
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
    axes.set_title(name, fontsize=10.5, family="monospace")
    style.log_ticks(axes)
    style.finish(axes)


def _limits(kept: Sequence[np.ndarray], network: np.ndarray) -> tuple[float, float]:
    """A range that holds the network, and the flows unless they are far away."""
    values = np.concatenate(kept)
    values, network = values[values > 0], network[network > 0]
    low = max(float(values.min()), float(network.min()) / _ROOM)
    high = min(float(values.max()), float(network.max()) * _ROOM)
    return low / 1.15, high * 1.15


def _legend(comparison: Comparison) -> list[Line2D]:
    c = style.number(comparison.mobility)
    words = {
        OWN: f"model from the network's own $(W,H)$ at epoch {comparison.snapshot}",
        OWN_MOBILE: f"the same, features {c} times as mobile",
        RANDOM: "model from random $(W,H)$ of the norms of the first snapshot",
        RANDOM_MOBILE: "the same, with as mobile features",
    }
    entries = [Line2D([], [], **NETWORK, label="network")]
    entries += [Line2D([], [], **LOOKS[name], label=text) for name, text in words.items()]
    if comparison.control is not None:
        decay = comparison.control.recipe.weight_decay
        entries.append(Line2D([], [], **CONTROL, label=f"network with weight decay {decay:g}"))
    what = "zero training error" if comparison.run.epoch_without_error() == comparison.snapshot else "snapshot"
    return [*entries, Line2D([], [], **style.THEORY, label=f"{what}, epoch {comparison.snapshot}")]
