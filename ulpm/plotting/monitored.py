"""The neural-collapse metrics of a network while it trains: each against the epoch, and along its layers."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.lines import Line2D

from ulpm.plotting import style
from ulpm.plotting.house import house_style
from ulpm.plotting.legends import legend_in_free_cells
from ulpm.plotting.metrics import FORMULAS

__all__ = ["plot_depth", "plot_monitor"]

_SHARES = {"nc4_mismatch": "share of samples", "ncc_accuracy": "share of samples"}
_LINES = style.LINE_STYLES


@house_style()
def plot_monitor(table: Sequence[Mapping[str, Any]], names: Sequence[str] | None = None) -> Figure:
    """Each metric of ``monitor.table`` against the epoch: a colour a layer, a line style a split.

    Epochs are on the scale log(1 + epoch), which has room for 0. ``names`` picks metrics.

    Raises: ValueError if the table is empty, or ``names`` holds something that was not measured.
    """
    chosen = _chosen(table, names)
    layers, splits = (list(dict.fromkeys(row[column] for row in table)) for column in ("layer", "split"))
    looks = {
        (layer, split): {
            "color": style.COLORS[i % len(style.COLORS)],
            "linestyle": _LINES[j % len(_LINES)],
            "linewidth": 1.8,
        }
        for i, layer in enumerate(layers)
        for j, split in enumerate(splits)
    }
    figure, grid, panels = _panels("Neural collapse while the network trains", chosen)
    for axes, name in zip(panels, chosen, strict=True):
        curves = []
        for (layer, split), look in looks.items():
            points = sorted(
                (row["epoch"], row["value"])
                for row in table
                if (row["layer"], row["split"], row["metric"]) == (layer, split, name)
            )
            curves.append(_curve(axes, points, look))
        axes.set_xscale("function", functions=(np.log1p, np.expm1))
        last = max(row["epoch"] for row in table)
        style.fix_ticks(axes, "x", [0, *(e for j in range(9) for e in (10**j, 3 * 10**j) if e <= last)])
        axes.set_xlim(0, max(last, 1))
        axes.set_xlabel("epoch")
        _finish(axes, name, curves)
    legend_in_free_cells(figure, grid, len(chosen), [*_legend(layers, splits)])
    return figure


@house_style()
def plot_depth(table: Sequence[Mapping[str, Any]], names: Sequence[str] | None = None) -> Figure:
    """Each metric along the layers of a network at the last epoch of ``monitor.table``: a line a split.

    ``names`` picks metrics; without it they are those that every layer has. Raises: ValueError as ``plot_monitor``.
    """
    latest = max((row["epoch"] for row in table), default=0)
    last = [row for row in table if row["epoch"] == latest]
    layers, splits = (list(dict.fromkeys(row[column] for row in last)) for column in ("layer", "split"))
    everywhere = [
        name
        for name in dict.fromkeys(row["metric"] for row in last)
        if {row["layer"] for row in last if row["metric"] == name} == set(layers)
    ]
    chosen = _chosen(last, names)
    if names is None:
        chosen = everywhere
    figure, grid, panels = _panels(f"Neural collapse along the layers, epoch {latest}", chosen)
    for axes, name in zip(panels, chosen, strict=True):
        curves = []
        for j, split in enumerate(splits):
            values = {row["layer"]: row["value"] for row in last if (row["split"], row["metric"]) == (split, name)}
            points = [(i, values[layer]) for i, layer in enumerate(layers) if layer in values]
            look = {"color": style.COLORS[j % len(style.COLORS)], "linestyle": _LINES[j % len(_LINES)], "marker": "o"}
            curves.append(_curve(axes, points, look))
        axes.set_xticks(
            range(len(layers)),
            [style.as_text(layer) for layer in layers],
            rotation=90 if len("".join(layers)) > 30 else 0,
        )
        axes.set_xlim(-0.3, len(layers) - 0.7)
        axes.set_xlabel("layer")
        _finish(axes, name, curves)
    handles: list[Artist] = [
        Line2D([], [], color=style.COLORS[j % len(style.COLORS)], linestyle=_LINES[j % len(_LINES)], label=label)
        for j, label in enumerate(map(style.as_text, splits))
    ]
    legend_in_free_cells(figure, grid, len(chosen), handles)
    return figure


def _chosen(table: Sequence[Mapping[str, Any]], names: Sequence[str] | None) -> list[str]:
    measured = list(dict.fromkeys(row["metric"] for row in table))
    if not measured:
        raise ValueError("the table must hold a measurement, but it is empty: call monitor.step(epoch) first.")
    missing = [name for name in names or () if name not in measured]
    if missing or (names is not None and not len(names)):
        raise ValueError(f"names must be among {', '.join(measured)}, but {', '.join(missing) or 'none'} was given.")
    return measured if names is None else list(names)


def _panels(heading: str, chosen: list[str]) -> tuple[Figure, GridSpec, list[Axes]]:
    columns = min(len(chosen), 5 if len(chosen) > 8 else 4)
    rows = math.ceil(len(chosen) / columns)
    figure = style.new_figure(max(2.9 * columns, 5.5), 2.45 * rows + 1.0, heading)
    grid = GridSpec(rows, columns, figure=figure)
    return figure, grid, [figure.add_subplot(grid[i // columns, i % columns]) for i in range(len(chosen))]


def _curve(axes: Axes, points: Sequence[tuple[float, float]], look: dict[str, Any]) -> Line2D:
    """A line through the points; a single one has a marker."""
    (line,) = axes.plot(*zip(*points, strict=True) if points else ([], []), **look)
    if len(points) == 1:
        line.set_marker("o")
    return line


def _finish(axes: Axes, name: str, curves: Sequence[Line2D]) -> None:
    axes.set_title(name, fontsize=10.5 if len(name) < 26 else 9.2, family="monospace")
    axes.set_ylabel(_SHARES.get(name, FORMULAS.get(name, "")), fontsize=9)
    style.finish(axes)
    if name in _SHARES:
        axes.set_ylim(-0.03, 1.04 * max(axes.dataLim.y1, 0.1))
        style.linear_ticks(axes)
    else:
        style.value_axis(axes, curves)


def _legend(layers: Sequence[str], splits: Sequence[str]) -> list[Artist]:
    handles: list[Artist] = [
        Line2D([], [], color=style.COLORS[i % len(style.COLORS)], linewidth=1.8, label=style.as_text(layer))
        for i, layer in enumerate(layers)
    ]
    if len(splits) > 1:
        handles += [
            Line2D([], [], color="0.3", linestyle=_LINES[j % len(_LINES)], linewidth=1.8, label=style.as_text(split))
            for j, split in enumerate(splits)
        ]
    return handles
