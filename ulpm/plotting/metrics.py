"""The neural-collapse metrics along a run, each beside its late-time law."""

import math
from collections.abc import Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.lines import Line2D

from ulpm.metrics.records import METRICS, RECORDS
from ulpm.plotting import laws, style
from ulpm.plotting.house import house_style
from ulpm.plotting.legends import legend_in_free_cells
from ulpm.plotting.style import THEORY, Run
from ulpm.trajectory import Trajectory

FORMULAS = {record.key: record.latex for record in RECORDS}
"""Each metric by its key, in LaTeX as figures write it."""


@house_style()
def plot_metrics(
    path: Trajectory,
    *others: Trajectory,
    labels: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
) -> Figure:
    """Each neural-collapse metric against log10 t, beside its late-time law through the last record.

    Equal class counts, K ≥ 3, d ≥ K:  (log t)^−3 nc1_pinv;  1/log t nc1_ratio, nc1_cdnv, nc2_*_means,
    nc2_*_classifier_centered, nc3_duality;  1/√(log t) nc0, nc1_distance, nc2_*_classifier, nc3_difference,
    nc3_product. Unequal counts: nc1_pinv ∝ (log t)^−2; all nc2_*, nc3_difference and nc3_duality tend to positive
    constants. d = K − 1: no law of nc1_*; d < K − 1: nc0 only. Two classes, and starts with Σ_k w_k = 0, have laws of
    their own. All laws are in ``ulpm.laws``. As every law passes through a record, each panel also states the exponent
    measured: the least-squares slope of log metric against log log t over the last third of the records with
    log t > 10. What lies below the floor of a run (``Trajectory.floors``) is shaded, and nothing is measured there.

    Laws and measured exponents are those of ``path``. Dashed lines are theory, all others are data.

    Args:
        path: The run.
        others: Runs that are laid over it.
        labels: A name for each run, in the legend.
        names: Which metrics; by default all.

    Raises:
        ValueError: If ``names`` holds something that was not recorded, or there is not one label a run.

    Source: Ji, Lu, Zhang, Deng, Su, "An Unconstrained Layer-Peeled Perspective on Neural Collapse", 2022; formulas of
    the metrics: ``ulpm.neural_collapse``.
    """
    drawn = style.runs((path, *others), labels)
    chosen = _recorded(path, others, names)
    columns = min(len(chosen), 5 if len(chosen) > 8 else 4)
    rows = math.ceil(len(chosen) / columns)
    heading = style.title("Neural-collapse metrics along the run", drawn)
    figure = style.new_figure(max(2.9 * columns, 5.5), 2.45 * rows + 1.0, heading)
    grid = GridSpec(rows, columns, figure=figure)
    panels = [figure.add_subplot(grid[i // columns, i % columns]) for i in range(len(chosen))]
    compared = [_metric_panel(axes, drawn, name) for axes, name in zip(panels, chosen, strict=True)]
    handles: list[Artist] = [run.proxy() for run in drawn]
    of_first = f"\nof {drawn[0].label}" if others else ""
    if any(law for law, _, _ in compared):
        handles.append(Line2D([], [], **THEORY, label=f"late-time law, through the last record{of_first}"))
    if any(measured for _, measured, _ in compared):
        handles.append(laws.measured_proxy(of_first))
    if any(below for _, _, below in compared):
        handles.append(style.floor_proxy())
    legend_in_free_cells(figure, grid, len(chosen), handles)
    return figure


def _recorded(path: Trajectory, others: Sequence[Trajectory], names: Sequence[str] | None) -> list[str]:
    """The metrics to draw: those asked for, or all that every run has, in the order of tables."""
    available = [name for name in METRICS if all(name in each.metrics for each in (path, *others))]
    if names is None:
        return available
    missing = [name for name in names if name not in available]
    if missing or not names:
        raise ValueError(f"names must be among {', '.join(available)}, but {', '.join(missing) or 'none'} was given.")
    return list(names)


def _metric_panel(axes: Axes, drawn: Sequence[Run], name: str) -> tuple[bool, bool, bool]:
    """One metric of all runs; are there a law, a measured exponent (of the first), and records below a floor."""
    first = drawn[0].path
    curves = [style.draw(axes, run, run.path.metrics[name]) for run in drawn]
    axes.set_title(name, fontsize=10.5 if len(name) < 26 else 9.2, family="monospace")
    axes.set_ylabel(FORMULAS[name], fontsize=9)
    style.time_axis(axes, drawn)
    style.finish(axes)
    if name == "nc4_mismatch":  # a share that becomes exactly 0 has no logarithm
        axes.set_ylim(bottom=-0.05 * max(axes.get_ylim()[1], 0.1))
        style.linear_ticks(axes)
        return False, False, False
    if not style.value_axis(axes, curves):
        return False, False, False
    law, measured = laws.compare(
        axes, drawn[0], first.metrics[name], laws.law_of(drawn[0], name), first.floors.get(name)
    )
    below = [style.mark_floor(axes, run, run.path.metrics[name], run.path.floors.get(name)) for run in drawn]
    return law, measured, any(below)
