"""Curves along a run, each beside the law that theory gives for it."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.lines import Line2D
from torch import Tensor

from ulpm.plotting import style
from ulpm.plotting.style import THEORY, Run
from ulpm.problem import Problem
from ulpm.trajectory import Trajectory

_FORMULAS = {
    "nc0": r"$\Vert\sum{}_k\, w_k\Vert\,/\,\Vert W\Vert$",
    "nc1_pinv": r"$\mathrm{tr}(\Sigma_W\Sigma_B^\dagger)\,/\,K$",
    "nc1_ratio": r"$\mathrm{tr}\,\Sigma_W\,/\,\mathrm{tr}\,\Sigma_B$",
    "nc1_cdnv": r"mean $(v_j+v_k)\,/\,2\Vert\mu_j-\mu_k\Vert^2$",
    "nc3_difference": r"$\Vert W^\top\!/\Vert W\Vert-M/\Vert M\Vert\,\Vert$",
    "nc2_norm_means": r"std / mean of $\Vert\mu_k-\mu_G\Vert$",
    "nc2_angle_means": r"mean $|\cos(\mu_j,\mu_k)+1/(K-1)|$",
    "nc2_etf_means": r"$\Vert G/\Vert G\Vert-E\,\Vert,\ G=M^\top M$",
    "nc3_product": r"$\Vert WM/\Vert WM\Vert-E\,\Vert$",
    "nc4_mismatch": "share of samples",
    "nc2_norm_classifier": r"std / mean of $\Vert w_k\Vert$",
    "nc2_angle_classifier": r"mean $|\cos(w_j,w_k)+1/(K-1)|$",
    "nc2_etf_classifier": r"$\Vert G/\Vert G\Vert-E\,\Vert,\ G=WW^\top$",
}

# Exponents in log t for balanced classes. Those of nc1_cdnv (−1.00), nc2_etf_means (−1.00) and nc2_etf_classifier
# (−0.50) were measured like the others, as the slope of log metric against log log t between log t = 4e3 and 2e4, for
# (K, n, d) = (4, 5, 20), (3, 10, 8), (6, 3, 12) and (4, 5, 4); all runs agree to 0.01.
_BALANCED = {
    "nc1_pinv": -3.0,
    "nc1_ratio": -1.0,
    "nc1_cdnv": -1.0,
    "nc2_norm_means": -1.0,
    "nc2_angle_means": -1.0,
    "nc2_etf_means": -1.0,
    "nc2_norm_classifier": -0.5,
    "nc2_angle_classifier": -0.5,
    "nc2_etf_classifier": -0.5,
    "nc3_difference": -0.5,
    "nc3_product": -0.5,
}
_UNBALANCED = {"nc1_pinv": -2.0, "nc3_difference": 0.0}
_NORM_MARKER: dict[str, Any] = {"marker": "o", "markersize": 4.5, "markerfacecolor": "white"}
_EXPONENT_TEXT = {-3.0: r"$\propto(\log t)^{-3}$", -2.0: r"$\propto(\log t)^{-2}$", -1.0: r"$\propto 1/\log t$"}
_EXPONENT_TEXT |= {-0.5: r"$\propto 1/\sqrt{\log t}$", 0.0: r"$\to$ constant $>0$"}


def law_exponent(problem: Problem, name: str) -> float | None:
    """The exponent in log t that a metric has late in a flow, or None where none is known."""
    num_classes, dim = problem.num_classes, problem.feature_dim
    if name == "nc0":
        return -0.5  # Σ_k w_k is conserved and ‖W‖ grows like √(log t), whatever the geometry
    if dim < num_classes - 1:
        return None
    if dim == num_classes - 1 and name.startswith("nc1"):
        return None  # the law is that of feature parts orthogonal to the classifier, which have no room here
    if num_classes == 2:
        # Two classes end as at collapse whatever their counts, and about the angle π the cosine is quadratic. Both
        # measured as above, for (K, n, d) = (2, 5, 5) and (2, (8, 2), 5): −0.50 and −1.00.
        special = {"nc3_difference": -0.5, "nc2_angle_classifier": -1.0}
        if name in special and (problem.balanced or name in _UNBALANCED):
            return special[name]
    if not problem.balanced:
        return _UNBALANCED.get(name)
    return _BALANCED.get(name)


def plot_metrics(
    path: Trajectory,
    *others: Trajectory,
    labels: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
) -> Figure:
    """Each neural-collapse metric against log10 t, beside its late-time law through the last record.

    Balanced classes, d ≥ K − 1:  (log t)^−3 nc1_pinv;  1/log t nc1_ratio, nc1_cdnv, nc2_*_means;
    1/√(log t) nc0, nc2_*_classifier, nc3_*.  Unequal class counts: nc1_pinv ∝ (log t)^−2, nc3_difference tends to a
    positive constant, nc0 as before. d < K − 1: nc0 only; d = K − 1: none for nc1_*. The exponents are measured along
    flows to log t = 1e5, except that of nc0, which follows from the conservation of Σ_k w_k. The laws drawn are those
    of ``path``; ``others`` are laid over it, told apart by ``labels``. Dashed lines are theory, all others are data.
    ``names`` picks metrics.

    Raises: ValueError if ``names`` holds something that was not recorded, or there is not one label a run.
    Source: Ji, Lu, Zhang, Deng, Su, "An Unconstrained Layer-Peeled Perspective on Neural Collapse", 2022; formulas of
    the metrics: ``ulpm.neural_collapse``.
    """
    chosen = _recorded(path, others, names)
    drawn = style.runs((path, *others), labels)
    columns = min(len(chosen), 5 if len(chosen) > 8 else 4)
    rows = math.ceil(len(chosen) / columns)
    heading = style.title("Neural-collapse metrics along the run", drawn)
    figure = style.new_figure(max(2.9 * columns, 5.5), 2.45 * rows + 1.0, heading)
    grid = GridSpec(rows, columns, figure=figure)
    panels = [figure.add_subplot(grid[i // columns, i % columns]) for i in range(len(chosen))]
    laws = [_metric_panel(axes, drawn, name) for axes, name in zip(panels, chosen, strict=True)]
    theory = Line2D([], [], **THEORY, label="late-time law, through the last record")
    handles = [run.proxy() for run in drawn] + ([theory] if any(laws) else [])
    _legend_in_free_cells(figure, grid, len(chosen), handles)
    return figure


def plot_loss(path: Trajectory, *others: Trajectory, labels: Sequence[str] | None = None) -> Figure:
    """The loss and the norm against their sharp asymptotics.

    Left: log10 L against log10 t beside L = (v*/2)/(t log t). Right: (L t log t)/(v*/2) and (ρ²/log t)/(2v*), which
    both tend to 1 like 1/log t if the flow ends at the optimum v* = ``Problem.minimum_norm_value``. For d < K − 1,
    where v* is not known, L t log t and ρ²/log t themselves and no theory.

    Source: the Θ(1/(t log t)) and Θ(log t) forms are those of Lyu and Li, "Gradient Descent Maximizes the Margin of
    Homogeneous Neural Networks", 2020; the constants follow from the value of their minimum-norm problem.
    """
    drawn = style.runs((path, *others), labels)
    figure = style.new_figure(11, 4.6, style.title("Loss and norm along the run", drawn))
    left, right = figure.subplots(1, 2)
    for run in drawn:
        style.draw(left, run, run.path.log_loss / math.log(10))
    _loss_law(left, drawn[0])
    _ratio_panel(right, drawn)
    style.log10_loss_axis(left)
    theory = Line2D([], [], **THEORY, label="$L = (v^*/2)\\,/\\,(t\\,\\log t)$, and ratio 1")
    _close(figure, drawn, (left, right), [theory] if math.isfinite(path.problem.minimum_norm_value) else [])
    return figure


def plot_margin(path: Trajectory, *others: Trajectory, labels: Sequence[str] | None = None) -> Figure:
    """The normalised margin γ = q_min/ρ² against the largest possible one, γ* = 1/(2v*).

    Left: γ and γ*. Right: 1 − γ/γ* beside the law ∝ 1/log t through its last record. For d < K − 1, where v* is not
    known, γ only.

    Source: γ* is the value of the minimum-norm separation problem, Ji, Lu, Zhang, Deng, Su, 2022 (unequal class counts:
    Thrampoulidis, Kini, Vakilian, Behnia, 2022); that γ tends to it: Lyu and Li, 2020, and the absence of worse ends.
    """
    drawn = style.runs((path, *others), labels)
    value = path.problem.minimum_norm_value
    known = math.isfinite(value)
    figure = style.new_figure(11 if known else 6.5, 4.6, style.title("Normalised margin along the run", drawn))
    panels = list(figure.subplots(1, 2 if known else 1, squeeze=False)[0])
    for run in drawn:
        style.draw(panels[0], run, run.path.margin / run.path.squared_norm)
    panels[0].set_ylabel(r"$\gamma = q_{\min}\,/\,\rho^2$")
    style.linear_ticks(panels[0])
    theory = []
    if known:
        panels[0].axhline(1 / (2 * value), **THEORY)
        _margin_gap(panels[1], drawn)
        theory = [Line2D([], [], **THEORY, label=r"$\gamma^* = 1/(2v^*)$, and $1-\gamma/\gamma^* \propto 1/\log t$")]
    else:
        style.note(panels[0], r"$\gamma^*$ is not known for $d < K-1$", 0.97, 0.06, ha="right")
    _close(figure, drawn, panels, theory)
    return figure


def plot_invariants(path: Trajectory, *others: Trajectory, labels: Sequence[str] | None = None) -> Figure:
    """How far the two conserved quantities of the flow have drifted from their starts.

    Left: ‖B − B(0)‖/ρ² for the balancedness B = WᵀW − HHᵀ. Right: ‖Σ_k w_k − (Σ_k w_k)(0)‖/ρ. Dashed: the relative
    tolerance of the integrator, if the run had one. The left drift is truncation error and of its order or less; the
    right one is rounding whatever the method.

    Source: both are exact along the flow dW/dt = RHᵀ, dH/dt = WᵀR, because (WᵀW)' = (HHᵀ)' and 1ᵀR = 0.
    """
    drawn = style.runs((path, *others), labels)
    figure = style.new_figure(11, 4.6, style.title("Drift of the invariants", drawn))
    panels = list(figure.subplots(1, 2))
    quantities = {
        "balancedness": r"$\Vert B-B(0)\Vert\,/\,\rho^2,\quad B=W^\top W-HH^\top$",
        "classifier_sum": r"$\Vert\sum{}_k\, w_k-\sum{}_k\, w_k(0)\Vert\,/\,\rho$",
    }
    tolerance = path.config.get("rtol")
    for axes, (name, quantity) in zip(panels, quantities.items(), strict=True):
        curves = [style.draw(axes, run, run.path.invariant_drift[name]) for run in drawn]
        axes.set_ylabel(quantity)
        if tolerance is not None:
            axes.axhline(tolerance, **THEORY)
        style.value_axis(axes, curves, rounding=0.0)
    theory = [] if tolerance is None else [Line2D([], [], **THEORY, label=f"rtol = {style.number(tolerance)}")]
    _close(figure, drawn, panels, theory)
    return figure


def _recorded(path: Trajectory, others: Sequence[Trajectory], names: Sequence[str] | None) -> list[str]:
    """The metrics to draw: those asked for, or all that every run has, in the order of the page."""
    available = [name for name in _FORMULAS if all(name in each.metrics for each in (path, *others))]
    if names is None:
        return available
    missing = [name for name in names if name not in available]
    if missing or not names:
        raise ValueError(f"names must be among {', '.join(available)}, but {', '.join(missing) or 'none'} was given.")
    return list(names)


def _metric_panel(axes: Axes, drawn: Sequence[Run], name: str) -> bool:
    """One metric of all runs; whether it has a law."""
    first = drawn[0].path
    curves = [style.draw(axes, run, run.path.metrics[name]) for run in drawn]
    axes.set_title(name, fontsize=10.5, family="monospace")
    axes.set_ylabel(_FORMULAS[name], fontsize=9)
    style.time_axis(axes, drawn)
    style.finish(axes)
    if name == "nc4_mismatch":  # a share that becomes exactly 0 has no logarithm
        axes.set_ylim(bottom=-0.05 * max(axes.get_ylim()[1], 0.1))
        style.linear_ticks(axes)
        return False
    exponent = law_exponent(first.problem, name)
    if not style.value_axis(axes, curves) or exponent is None:
        return False
    place = (0.05, 0.1, "left") if exponent else (0.97, 0.92, "right")  # where the curve is not
    if style.draw_law(axes, exponent, drawn[0], first.metrics[name]) is None:
        return False
    style.note(axes, _EXPONENT_TEXT[exponent], *place)
    return True


def _loss_law(axes: Axes, run: Run) -> None:
    """log10 of (v*/2)/(t log t) from t = 10 on."""
    value, end = run.path.problem.minimum_norm_value, run.log10_time[-1]
    if math.isfinite(value) and end > 1:
        log10_time = torch.logspace(0, math.log10(end), 100, dtype=torch.float64)
        law = math.log10(value / 2) - log10_time - torch.log10(log10_time * math.log(10))
        axes.plot(log10_time.numpy(), law.numpy(), **THEORY | {"color": "black", "linewidth": 1.4})


def _asymptotic_ratios(path: Trajectory) -> tuple[Float[Tensor, " R *batch"], Float[Tensor, " R *batch"]]:
    """(L t log t)/(v*/2) and (ρ²/log t)/(2v*), undivided if v* is unknown; nan before log t = 1."""
    value = path.problem.minimum_norm_value
    loss_limit, norm_limit = (value / 2, 2 * value) if math.isfinite(value) else (1.0, 1.0)
    log_time = torch.where(path.log_time >= 1, path.log_time, torch.nan)
    return torch.exp(path.log_loss + log_time) * log_time / loss_limit, path.squared_norm / log_time / norm_limit


def _ratio_panel(axes: Axes, drawn: Sequence[Run]) -> None:
    """Both ratios of each run and their common limit 1, or the quantities themselves where v* is unknown."""
    late = [run for run in drawn if bool((run.path.log_time >= 1).any())]
    for run in late:
        loss, norm = _asymptotic_ratios(run.path)
        style.draw(axes, run, loss)
        style.draw(axes, run, norm, **_NORM_MARKER, markevery=0.09)
    labels, unknown = (r"$L\,t\,\log t\;/\;(v^*/2)$", r"$(\rho^2/\log t)\;/\;(2v^*)$"), None
    if math.isfinite(drawn[0].path.problem.minimum_norm_value):
        axes.axhline(1.0, **THEORY)
        axes.set_ylabel("measured / predicted limit")
    else:
        labels, unknown = (r"$L\,t\,\log t$", r"$\rho^2/\log t$"), "$v^*$ is not known for $d < K-1$"
        axes.set_ylabel("value")
    handles = [Line2D([], [], color="0.25", label=labels[0])]
    handles.append(Line2D([], [], color="0.25", label=labels[1], **_NORM_MARKER))
    axes.set_ylim(bottom=0)
    axes.legend(handles=handles, fontsize=9, loc="upper right", title=unknown, title_fontsize=9)
    if not late:
        style.note(axes, "drawn from $\\log t = 1$ on", 0.5, 0.5, ha="center")


def _margin_gap(axes: Axes, drawn: Sequence[Run]) -> None:
    """1 − γ/γ* and its law."""
    curves = [style.draw(axes, run, 1 - run.path.margin_ratio) for run in drawn]
    axes.set_ylabel(r"$1-\gamma\,/\,\gamma^*$")
    style.time_axis(axes, drawn)
    if style.value_axis(axes, curves):
        style.draw_law(axes, -1.0, drawn[0], 1 - drawn[0].path.margin_ratio)
        style.note(axes, _EXPONENT_TEXT[-1.0], 0.05, 0.08)


def _legend_in_free_cells(figure: Figure, grid: GridSpec, used: int, handles: list[Line2D]) -> None:
    """The legend where the last row of panels leaves room, else below all panels."""
    if used == grid.nrows * grid.ncols:
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=9, frameon=False)
        return
    axes = figure.add_subplot(grid[-1, used % grid.ncols :])
    axes.set_axis_off()
    axes.legend(handles=handles, loc="center", fontsize=10, frameon=False)


def _close(figure: Figure, drawn: Sequence[Run], panels: Sequence[Axes], theory: list[Line2D]) -> None:
    """Time axes, looks, and one legend below the panels."""
    for axes in panels:
        style.time_axis(axes, drawn)
        style.finish(axes)
    handles = [*(run.proxy() for run in drawn), *theory]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=10, frameon=False)
