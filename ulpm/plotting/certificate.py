"""The certificates along a run: bounds of the optimum, and the gap between them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from ulpm.optimality.certificate import Certificate
from ulpm.plotting import laws, style
from ulpm.plotting.house import house_style
from ulpm.plotting.legends import legend_below
from ulpm.plotting.style import THEORY, Run
from ulpm.trajectory import Trajectory

_LOOKS: dict[str, dict[str, Any]] = {
    "lower_bound": {"marker": "^", "markersize": 5},
    "nuclear_upper_bound": {"marker": "v", "markersize": 5},
    "upper_bound": {"linewidth": 1.8, "alpha": 0.55},
}
_WORDS = {
    "lower_bound": r"lower bound $\sum_i R_{y_i i}\,/\,\Vert R\Vert_{\mathrm{op}}$",
    "nuclear_upper_bound": r"upper bound $\Vert WH\Vert_*\,/\,q_{\min}$",
    "upper_bound": r"upper bound $\frac{1}{2}\rho^2\,/\,q_{\min}$",
}
_WORDS_OF_A_MINIMUM = {
    "lower_bound": "lower bound of the optimum",
    "nuclear_upper_bound": r"upper bound, by $\Vert WH\Vert_*$",
    "upper_bound": "upper bound, by the norms",
}
_HEADROOM = 1.6


@house_style()
def plot_certificate(path: Trajectory, *others: Trajectory, labels: Sequence[str] | None = None) -> Figure:
    """Bounds of the optimal value v* of the margin problem from the state at each record, and their relative gap.

    With decay, or another loss that has a minimum, they are bounds of that, and there is no law.

    Left: the lower bound and the two upper bounds, which exist once the state separates the classes, and v* where it is
    known. Between lower and nuclear upper bound lies the optimum: that band is shaded. Right: the relative gap of
    these two, with the law ∝ 1/log t through the last record and the measured exponent as in ``plot_metrics``. With
    d < K − 1 there is no law: the relaxation that the lower bound comes from is not tight, and the gap stays open.

    Args:
        path: The run.
        others: Runs that are laid over it.
        labels: A name for each run, in the legend.

    Raises:
        ValueError: If a run has no certificates or there is not one label a run.

    Source of the bounds: ``ulpm.certify``.
    """
    drawn = style.runs((path, *others), labels)
    certificates = [_certificate(run) for run in drawn]
    figure = style.new_figure(11, 4.9, style.title("Bounds of the optimum by the certificates", drawn))
    left, right = figure.subplots(1, 2)
    for run, certificate in zip(drawn, certificates, strict=True):
        _bounds(left, run, certificate)
    _frame(left, certificates)
    known = style.distinct(drawn, lambda run: v if np.isfinite(v := run.path.problem.minimum_norm_value) else None)
    for _, value, look in known:
        left.axhline(value, **look)
    margins = {run.path.problem.has_margins for run in drawn}
    bounded = "v^*" if margins == {True} else r"\Phi^*"
    left.set_ylabel(f"bounds of ${bounded}$" if len(margins) == 1 else "bounds of the optima")
    curves = [style.draw(right, run, _finite(each.gap)) for run, each in zip(drawn, certificates, strict=True)]
    right.set_ylabel("relative gap of the bounds")
    for axes in (left, right):
        style.time_axis(axes, drawn)
        style.finish(axes)
    law, measured, below = _law(right, curves, drawn, certificates)
    words = ["$v^*$"] * bool(known) + [r"gap $\propto 1/\log t$"] * law
    handles: list[Artist] = [run.proxy() for run in drawn] if others else []
    said = _WORDS if margins == {True} else _WORDS_OF_A_MINIMUM
    handles += [Line2D([], [], color="0.25", label=said[name], **look) for name, look in _LOOKS.items()]
    handles += [Line2D([], [], **THEORY, label=", and ".join(words))] if words else []
    handles += [laws.measured_proxy(f"\nof {drawn[0].label}" if others else "")] if measured else []
    handles += [style.floor_proxy()] if below else []
    legend_below(figure, handles, fontsize=10)
    return figure


def _certificate(run: Run) -> Certificate:
    if run.path.certificate is None:
        raise ValueError(f"the run {run.label!r} has no certificates to draw, as nothing bounds its optimum.")
    return run.path.certificate


def _bounds(axes: Axes, run: Run, certificate: Certificate) -> None:
    """The three bounds, and between the best two a band; bounds that do not exist yet are left out."""
    every = max(1, len(run.path.log_time) // 10)  # as records are even on the time axis, so are the markers
    for i, (name, look) in enumerate(_LOOKS.items()):
        # Those of two bounds alternate, so that they can be told apart where the bounds have met.
        style.draw(axes, run, _finite(getattr(certificate, name)), **look, markevery=(i * every // 2, every))
    low = style.summary(certificate.lower_bound)[1]
    high = style.summary(_finite(certificate.nuclear_upper_bound))[1]
    axes.fill_between(run.log10_time, low, high, color=run.color, alpha=0.12, linewidth=0)


def _frame(axes: Axes, certificates: Sequence[Certificate]) -> None:
    """From a little below the least lower bound to above the best upper bound of each run; earlier ones are far off."""
    lower = np.concatenate([style.summary(each.lower_bound)[0] for each in certificates])
    upper = [style.summary(_finite(each.nuclear_upper_bound))[0] for each in certificates]
    best = [values[np.isfinite(values)].min() for values in upper if np.isfinite(values).any()]
    axes.set_ylim(0.95 * np.nanmin(lower), _HEADROOM * max(best, default=np.nanmax(lower)))
    style.linear_ticks(axes)


def _law(
    axes: Axes, curves: Sequence[Line2D], drawn: Sequence[Run], certificates: Sequence[Certificate]
) -> tuple[bool, bool, bool]:
    """Law and exponent of the first run's gap, or why there is no law, and the floors; which of the three are drawn."""
    if not style.value_axis(axes, curves):
        return False, False, False
    run, law, measured = drawn[0], False, False
    if certificates[0].relaxation_tight:
        exponent, floor = laws.law_of(run, "gap"), run.path.floors.get("gap")
        law, measured = laws.compare(axes, run, _finite(certificates[0].gap), exponent, floor)
    else:
        reason = "$d < K-1$: the relaxation is not tight,\nand the gap stays open"
        style.note(axes, reason, 0.97, 0.97, ha="right", va="top")
    below = [
        style.mark_floor(axes, each, _finite(certificate.gap), each.path.floors.get("gap"))
        for each, certificate in zip(drawn, certificates, strict=True)
    ]
    return law, measured, any(below)


def _finite(values: Float[Tensor, " R *batch"]) -> Float[Tensor, " R *batch"]:
    """nan for bounds that do not exist, as for records that do not."""
    return torch.where(values.isinf(), torch.nan, values)
