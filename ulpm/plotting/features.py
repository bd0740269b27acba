"""How far features have collapsed, in one picture: the whole, each class, and the angles between classes."""

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ulpm import _checks
from ulpm.features import CollapseReport
from ulpm.features.verdict import DEGREES
from ulpm.plotting import style
from ulpm.plotting.house import house_style
from ulpm.plotting.style import COLORS, THEORY

__all__ = ["plot_features"]

_JUDGED = {
    "nc1_distance": "NC1 distance",
    "nc2_norm_means": "NC2 lengths, means",
    "nc2_angle_means": "NC2 angles, means",
    "nc2_norm_classifier_centered": "NC2 lengths, classifier",
    "nc2_angle_classifier_centered": "NC2 angles, classifier",
    "nc3_duality": "NC3 duality",
    "nc4_mismatch": "NC4 mismatch",
}
_NAMED, _BARS, _LOWEST = 30, 200, 1e-4


@house_style()
def plot_features(report: CollapseReport, title: str = "Neural collapse of features") -> Figure:
    """Three panels: the measures of NC1 to NC4, the spread of each class, and the angles between class means.

    Left: the values by which ``ulpm.verdict`` judges, beside its bounds. Middle: v_k / tr Σ_B of each class, the
    largest at the top; the dashed line is nc1_ratio, their mean over samples. Right: the deviation of each cosine from
    −1/(K−1), which a simplex has throughout. Of more than 200 classes the middle panel shows the first 200.
    """
    _checks.instance("report", report, CollapseReport)
    K = len(report.class_names)
    figure = style.new_figure(14, min(4.6 + 0.12 * max(0, min(K, _NAMED) - 10), 8), style.as_text(title))
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.15, 1, 1.1))
    _measures(left, report)
    _spreads(middle, report)
    _angles(right, report, figure)
    return figure


def _measures(axes: Axes, report: CollapseReport) -> None:
    shown = [key for key in _JUDGED if key in report.metrics]
    values = np.array([report.metrics[key] for key in shown])
    rows = np.arange(len(shown))
    edges = [_LOWEST / 2, *(bound for bound, _ in DEGREES[:-1]), 3.0]
    greys = ("0.80", "0.87", "0.93", "1.0")
    for low, high, grey in zip(edges, edges[1:], greys, strict=False):
        axes.axvspan(low, high, color=grey, zorder=0)
    drawn = np.where(np.isfinite(values), np.clip(values, _LOWEST, 2.5), np.nan)
    axes.plot(drawn, rows, "o", color=COLORS[0], markersize=8)
    for row, value in zip(rows, values, strict=True):
        if math.isfinite(value):
            words = f"{value:.2g}" if value >= _LOWEST or value == 0 else f"{value:.0e}"
            axes.annotate(words, (max(min(value, 2.5), _LOWEST), row), (0, 8), textcoords="offset points", ha="center")
        else:
            axes.annotate("0/0", (edges[0] * 2, row))
    axes.set_xscale("log")
    axes.set_xlim(edges[0], edges[-1])
    axes.set_yticks(rows, [_JUDGED[key] for key in shown])
    axes.set_ylim(len(shown) - 0.5, -0.7)
    axes.set_xlabel("value (0 at collapse)")
    axes.set_title("which of NC1 to NC4 hold", fontsize=11)
    bands = [
        Patch(facecolor=grey, edgecolor="0.6", label=f"{words}")
        for grey, (_, words) in zip(greys, DEGREES, strict=True)
    ]
    axes.legend(handles=bands, fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False)
    style.finish(axes)


def _spreads(axes: Axes, report: CollapseReport) -> None:
    spread = np.array(report.per_class["spread"])
    order = np.argsort(-spread, kind="stable")[:_BARS]
    rows = np.arange(len(order))
    axes.barh(rows, spread[order], color=COLORS[0], height=0.75)
    axes.axvline(report.metrics["nc1_ratio"], **THEORY)
    if len(order) <= _NAMED:
        axes.set_yticks(rows, [_short(report.class_names[k]) for k in order])
    else:
        axes.set_yticks([])
        axes.set_ylabel(
            f"{len(order)} of {len(spread)} classes" if len(order) < len(spread) else f"{len(order)} classes"
        )
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.set_xlabel(r"$v_k\,/\,\mathrm{tr}\,\Sigma_B$  (dashed: mean over samples)")
    axes.set_title("spread of each class", fontsize=11)
    style.finish(axes)


def _angles(axes: Axes, report: CollapseReport, figure: Figure) -> None:
    K = len(report.class_names)
    axes.set_title(f"cosines of class means, less −1/{K - 1}", fontsize=11)
    if report.cosines is None:
        axes.axis("off")
        axes.text(0.5, 0.5, f"{K} classes are too many to draw", ha="center", transform=axes.transAxes)
        return
    deviation = report.cosines.numpy() + 1 / (K - 1)
    deviation = np.where(np.eye(K, dtype=bool), np.nan, deviation)
    largest = float(np.nanmax(np.abs(deviation))) if np.isfinite(deviation).any() else 1.0
    limit: dict[str, Any] = {"vmin": -max(largest, 1e-12), "vmax": max(largest, 1e-12)}
    picture = axes.imshow(deviation, cmap="PuOr", interpolation="nearest", **limit)
    figure.colorbar(picture, ax=axes, shrink=0.85, format="%.2g")
    if len(report.class_names) <= _NAMED:
        names = [_short(name) for name in report.class_names]
        axes.set_xticks(range(K), names, rotation=90)
        axes.set_yticks(range(K), names)
        axes.tick_params(labelsize=9)
    axes.set_facecolor("0.7")


def _short(name: str) -> str:
    return style.as_text(name if len(name) <= 14 else f"{name[:13]}…")
