"""The figure of Σ_k w_k: measurements drawn over the law under the optimiser."""

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from real_experiments.comparison.figure import CONTROL, NETWORK
from real_experiments.comparison.network_run import NetworkRun
from real_experiments.comparison.pairing import Comparison
from ulpm.plotting import house_style, style

__all__ = ["plot_conservation"]


@house_style()
def plot_conservation(comparison: Comparison) -> Figure:
    """Against the epoch: ‖Σ_k w_k‖/‖W‖ with its law, and the distance from the law ‖Σ_k w_k − f_t Σ_k w_k(0)‖/‖W‖.

    Each column of the logits' gradient sums to zero, so stochastic gradient descent moves Σ_k w_k by weight decay
    alone. The law includes the decay, so the distance is float32 rounding. For Adam the line is the value under
    gradient descent, and the distance is the effect of Adam. Runs without a law show their drift instead.
    """
    figure = style.new_figure(12, 4.4, f"{comparison.run.name}: the sum of the classifier's rows")
    left, right = figure.subplots(1, 2)
    drawn = [(comparison.run, NETWORK, "network")]
    if comparison.control is not None:
        drawn.append(
            (comparison.control, CONTROL, f"control: {comparison.control.recipe.deviation() or 'the same recipe'}")
        )
    for run, look, label in drawn:
        _draw(left, run, "nc0", {**look, "linestyle": "none"}, label)
        if any(row.get("nc0_law", math.nan) > 0 for row in run.rows):
            _draw(left, run, "nc0_law", style.THEORY, None)
            _draw(right, run, "nc0_law_error", look, label)
        else:
            _draw(right, run, "classifier_sum_drift", look, label)
    has_law = any(run.recipe.model_loss.conserves_sums for run, _, _ in drawn)
    if has_law:
        left.plot([], [], **style.THEORY, label="law of gradient descent, from the start")
    left.set_ylabel(r"$\Vert\sum{}_k\, w_k\Vert\,/\,\Vert W\Vert$")
    origin = "law" if has_law else "start"
    right.set_ylabel(rf"distance of $\sum{{}}_k\, w_k$ from the {origin}, of $\Vert W\Vert$")
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("epoch")
        style.log_ticks(axes)
        style.finish(axes)
    left.legend(fontsize=10, frameon=False)
    return figure


def _draw(axes: Axes, run: NetworkRun, column: str, look: dict[str, Any], label: str | None) -> None:
    rows = [row for row in run.rows if row.get(column, math.nan) > 0]
    axes.plot([row["epoch"] for row in rows], [row[column] for row in rows], **look, label=label)
