"""The paper's figure of real networks, redrawn: how each one's metrics fall while it trains."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from real_experiments.datasets import find_dataset
from real_experiments.models import find_network
from real_experiments.pair_result import PairResult
from ulpm.plotting import house_style, legend_below, style

__all__ = ["PANELS", "plot_paper_figure"]

PANELS: Mapping[str, tuple[str, ...]] = {
    "(a) variation of norms": ("nc2_norm_means", "nc2_norm_classifier_centered"),
    "(b) within-class variation": ("nc1_distance",),
    "(c) angles away from the simplex": ("nc2_angle_means", "nc2_angle_classifier_centered"),
    "(d) self-duality": ("nc3_duality",),
}
"""The panels of the paper, each with the metrics that it draws."""
_DASHES = ("-", (0, (5, 2)))


@house_style()
def plot_paper_figure(results: Sequence[PairResult]) -> Figure:
    """A row a data set, with every seed: the paper's four panels against the epoch, for one network and width.

    The dashed vertical line is the first measured epoch at zero training error, the earliest over the seeds, where the
    terminal phase begins. Source: Ji, Lu, Zhang, Deng, Su, "An Unconstrained Layer-Peeled Perspective on Neural
    Collapse", 2022, Figure 1 and Appendix D. We do not know its epochs and schedule, and chose our own.
    """
    rows: dict[str, list[PairResult]] = {}
    for each in results:
        rows.setdefault(each.recipe.dataset, []).append(each)
    recipe = results[0].recipe
    network = find_network(recipe.model).title
    heading = f"Neural collapse of {network} (width {recipe.width}), trained without weight decay"
    figure = style.new_figure(14, 0.9 + 3.0 * len(rows), heading)
    grid = figure.subplots(len(rows), len(PANELS), squeeze=False)
    for (dataset, seeds), line in zip(rows.items(), grid, strict=True):
        for axes, (title, metrics) in zip(line, PANELS.items(), strict=True):
            _panel(axes, seeds, metrics)
            axes.set_title(title, fontsize=11)
        split = ", test split" if seeds[0].recipe.split == "test" else ""
        line[0].set_ylabel(f"{find_dataset(dataset).title}{split}")
    for axes in grid[-1]:
        axes.set_xlabel("epoch")
    entries = [
        Line2D([], [], color=style.COLORS[0], linewidth=1.8, label="class means, features, self-duality"),
        Line2D([], [], color=style.COLORS[1], linestyle=_DASHES[1], linewidth=1.8, label="classifier, centred rows"),
        Line2D([], [], **style.THEORY, label="zero training error"),
    ]
    legend_below(figure, entries, fontsize=10)
    return figure


def _panel(axes: Axes, seeds: Sequence[PairResult], metrics: Sequence[str]) -> None:
    width = 1.8 if len(seeds) == 1 else 1.2
    for result in seeds:
        epochs = np.array([row["epoch"] for row in result.rows])
        for color, dashes, metric in zip(style.COLORS, _DASHES, metrics, strict=False):
            # A run of an earlier version has no such column: nothing is drawn for it.
            values = np.array([row.get(metric, np.nan) for row in result.rows])
            axes.plot(epochs, values, color=color, linestyle=dashes, linewidth=width)
    terminal = [first for result in seeds if (first := result.first_without_error) is not None]
    if terminal:
        axes.axvline(min(terminal), **style.THEORY)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(1, max(2, *(result.rows[-1]["epoch"] for result in seeds)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    style.log_ticks(axes)
    style.finish(axes)
