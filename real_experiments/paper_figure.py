"""The paper's figure of real networks, redrawn: how each one's metrics fall while it trains."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from real_experiments.comparison.network_run import NetworkRun
from ulpm.plotting import legend_below, style

__all__ = ["plot_paper_figure"]

# The four quantities of the paper, each by the metrics that make it up.
_PANELS = {
    "variation of norms": {"class means": "nc2_norm_means", "classifier": "nc2_norm_classifier"},
    "angles away from the simplex": {"class means": "nc2_angle_means", "classifier": "nc2_angle_classifier"},
    "self-duality": {"difference": "nc3_difference"},
    "within-class variation": {"tr($\\Sigma_W\\Sigma_B^\\dagger$)/K": "nc1_pinv"},
}
_DASHES = ("-", (0, (5, 2)))


def plot_paper_figure(networks: Mapping[str, NetworkRun]) -> Figure:
    """A row a network, by name: norms, angles, self-duality and within-class variation against the epoch.

    The dashed vertical line is the first measured epoch at zero training error, where the terminal phase begins.
    Source: Ji, Lu, Zhang, Deng, Su, "An Unconstrained Layer-Peeled Perspective on Neural Collapse", 2022, whose epochs
    and schedule are not stated: those here are ours.
    """
    figure = style.new_figure(14, 0.9 + 3.1 * len(networks), "Neural collapse of networks trained without weight decay")
    grid = figure.subplots(len(networks), len(_PANELS), squeeze=False)
    for (name, run), row in zip(networks.items(), grid, strict=True):
        epochs = np.array([measured["epoch"] for measured in run.rows])
        terminal = run.epoch_without_error()
        for axes, (heading, metrics) in zip(row, _PANELS.items(), strict=True):
            for color, dashes, metric in zip(style.COLORS, _DASHES, metrics.values(), strict=False):
                values = np.array([measured[metric] for measured in run.rows])
                axes.plot(epochs, values, color=color, linestyle=dashes, linewidth=1.8)
            if terminal is not None:
                axes.axvline(terminal, **style.THEORY)
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.set_xlim(1, epochs[-1])
            axes.xaxis.set_minor_formatter(NullFormatter())
            style.log_ticks(axes)
            style.finish(axes)
            axes.set_title(heading, fontsize=11)
            axes.set_xlabel("epoch")
        row[0].set_ylabel(name)
    entries = [
        Line2D([], [], color=style.COLORS[0], linewidth=1.8, label="class means; or the one quantity of a panel"),
        Line2D([], [], color=style.COLORS[1], linestyle=_DASHES[1], linewidth=1.8, label="classifier"),
        Line2D([], [], **style.THEORY, label="zero training error"),
    ]
    legend_below(figure, entries, fontsize=10)
    return figure
