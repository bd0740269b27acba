"""The figure of what every network without weight decay conserves, and one with weight decay does not."""

from matplotlib.figure import Figure

from real_experiments.comparison.figure import CONTROL, NETWORK
from real_experiments.comparison.pairing import Comparison
from ulpm.plotting import style

__all__ = ["plot_conservation"]


def plot_conservation(comparison: Comparison) -> Figure:
    """‖Σ_k w_k − Σ_k w_k(0)‖/‖W‖ against the epoch, of the network and of its control if there is one.

    Each column of the logits' gradient sums to zero, so that no step along it moves Σ_k w_k: what is seen without
    weight decay is float32 rounding.
    """
    figure = style.new_figure(7, 4.4, f"{comparison.run.name}: is $\\sum{{}}_k\\, w_k$ conserved?")
    axes = figure.subplots()
    drawn = [(comparison.run, NETWORK, "network")]
    if comparison.control is not None:
        decay = comparison.control.recipe.weight_decay
        drawn.append((comparison.control, CONTROL, f"with weight decay {decay:g}"))
    for run, look, label in drawn:
        rows = [row for row in run.rows if row["classifier_sum_drift"] > 0]
        epochs, drifts = ([row[name] for row in rows] for name in ("epoch", "classifier_sum_drift"))
        axes.plot(epochs, drifts, **look, label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("epoch")
    axes.set_ylabel(r"$\Vert\sum{}_k\, w_k-\sum{}_k\, w_k(0)\Vert\,/\,\Vert W\Vert$")
    axes.legend(fontsize=10, frameon=False)
    style.finish(axes)
    return figure
