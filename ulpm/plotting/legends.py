"""Legends that find their place and their number of rows."""

import math
import re
from collections.abc import Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec


def legend_below(figure: Figure, handles: Sequence[Artist], fontsize: float, **looks: Any) -> None:
    """A legend below all panels, in as few rows as fit the width of the figure.

    Widths are estimates, as measuring text is nothing that threads may do side by side.
    """
    widths = [fontsize * _ems(str(handle.get_label())) for handle in handles]
    rows = 1
    while sum(max(widths[i : i + rows]) for i in range(0, len(handles), rows)) > 72 * figure.get_figwidth():
        rows += 1
        if rows >= len(handles):
            break
    looks = {"ncols": math.ceil(len(handles) / rows), "fontsize": fontsize, "frameon": False, **looks}
    figure.legend(handles=handles, loc="outside lower center", **looks)


def legend_in_free_cells(figure: Figure, grid: GridSpec, used: int, handles: list[Artist]) -> None:
    """The legend where the last row of panels leaves room, else below all panels."""
    if used == grid.nrows * grid.ncols:
        legend_below(figure, handles, fontsize=9)
        return
    axes = figure.add_subplot(grid[-1, used % grid.ncols :])
    axes.set_axis_off()
    axes.legend(handles=handles, loc="center", fontsize=10, frameon=False)


def _ems(label: str) -> float:
    """Width of a legend entry with its line, in units of the font size; a command such as \\log counts two letters."""
    plain = re.sub(r"[${}^_]|\\[,;]", "", re.sub(r"\\[A-Za-z]+", "xx", label))
    return 0.57 * max(map(len, plain.split("\n"))) + 5
