"""Loss, norm, margin and invariants along a run, each beside the value or law that theory gives for it."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from torch import Tensor

from ulpm.laws import late_limits
from ulpm.plotting import laws, style
from ulpm.plotting.house import house_style
from ulpm.plotting.legends import legend_below
from ulpm.plotting.style import THEORY, Run
from ulpm.trajectory import Trajectory

_NORM_MARKER: dict[str, Any] = {"marker": "o", "markersize": 4.5, "markerfacecolor": "white"}
_UNKNOWN = {True: "$d < K-1$", False: "a flow that comes to rest"}


@house_style()
def plot_loss(path: Trajectory, *others: Trajectory, labels: Sequence[str] | None = None) -> Figure:
    """The loss and the norm against their sharp asymptotics.

    Left: log10 L against log10 t beside L = (v*/2κ)/(t log t). Right: (L t log t)/(v*/2κ) and (ρ²/log t)/(2v*/κ), which
    both tend to 1 like 1/log t if the flow ends at the optimum v* = ``Problem.minimum_norm_value``; κ is 1 for
    cross-entropy and 1 + γ for the focal loss.

    Of flows that come to rest, as with decay, the right panel shows ρ². Where squared error falls to 0, what lies below
    the floor of the loss (``Trajectory.floors``) is shaded.

    Every run is compared with the v* of its own problem. Where v* is not known, as for d < K − 1, the left panel shows
    the loss alone and the right one leaves the run out; if no run has a known v*, it shows L t log t and ρ²/log t
    themselves and no theory.

    Args:
        path: The run.
        others: Runs that are laid over it.
        labels: A name for each run, in the legend.

    Source: the Θ(1/(t log t)) and Θ(log t) forms are those of Lyu and Li, "Gradient Descent Maximizes the Margin of
    Homogeneous Neural Networks", 2020; the constants follow from the value of their minimum-norm problem.
    """
    drawn = style.runs((path, *others), labels)
    figure = style.new_figure(11, 4.6, style.title("Loss and norm along the run", drawn))
    left, right = figure.subplots(1, 2)
    for run in drawn:
        style.draw(left, run, run.path.log_loss / math.log(10))
    optima = style.distinct(drawn, _optimum)
    for run, _, look in optima:
        _loss_law(left, run, look | {"color": "black"} if look is THEORY else look)
    _ratio_panel(right, drawn)
    style.log10_loss_axis(left)
    floors = [run.path.floors.get("log_loss") for run in drawn]
    below = [
        style.mark_floor(left, run, run.path.log_loss / math.log(10), floor / math.log(10), signed=True)
        for run, floor in zip(drawn, floors, strict=True)
        if floor is not None
    ]
    constant = "v^*/2" if all(run.path.problem.loss.tail == 1 for run in drawn) else r"v^*/2\kappa"
    theory = Line2D([], [], **THEORY, label=rf"$L = ({constant})\,/\,(t\,\log t)$, and ratio 1")
    _close(figure, drawn, (left, right), [theory] * bool(optima) + [style.floor_proxy()] * any(below))
    return figure


@house_style()
def plot_margin(path: Trajectory, *others: Trajectory, labels: Sequence[str] | None = None) -> Figure:
    """The normalised margin γ = q_min/ρ² against the largest possible one, γ* = 1/(2v*).

    Left: γ and γ*. Right: 1 − γ/γ* beside the law ∝ 1/log t through its last record, with the measured exponent as in
    ``plot_metrics``.

    Every run is compared with the γ* of its own problem; if these differ, each is drawn in the colour of its run.
    Where v* is not known, as for d < K − 1, there is γ only. Law and exponent are those of the first run with a γ*.

    Args:
        path: The run.
        others: Runs that are laid over it.
        labels: A name for each run, in the legend.

    Source: γ* is the value of the minimum-norm separation problem, Ji, Lu, Zhang, Deng, Su, 2022 (unequal class counts:
    Thrampoulidis, Kini, Vakilian, Behnia, 2022); that γ tends to it: Lyu and Li, 2020, and the absence of worse ends.
    """
    drawn = style.runs((path, *others), labels)
    known = [run for run in drawn if _optimum(run) is not None]
    figure = style.new_figure(11 if known else 6.5, 4.6, style.title("Normalised margin along the run", drawn))
    panels = list(figure.subplots(1, 2 if known else 1, squeeze=False)[0])
    for run in drawn:
        style.draw(panels[0], run, run.path.margin / run.path.squared_norm)
    panels[0].set_ylabel(r"$\gamma = q_{\min}\,/\,\rho^2$")
    style.linear_ticks(panels[0])
    for _, value, look in style.distinct(drawn, _optimum):
        panels[0].axhline(1 / (2 * value), **look)
    theory = []
    if known:
        law, measured = _margin_gap(panels[1], known)
        words = [r"$\gamma^* = 1/(2v^*)$"] + [r"and $1-\gamma/\gamma^* \propto 1/\log t$"] * law
        theory = [Line2D([], [], **THEORY, label=", ".join(words))]
        if measured:
            theory.append(laws.measured_proxy(f"\nof {known[0].label}" if others else ""))
    if len(known) < len(drawn):
        which = _without_optimum(drawn) if known else _why_unknown(drawn)
        style.note(panels[0], rf"$\gamma^*$ is not known for {which}", 0.97, 0.06, ha="right")
    _close(figure, drawn, panels, theory)
    return figure


@house_style()
def plot_invariants(path: Trajectory, *others: Trajectory, labels: Sequence[str] | None = None) -> Figure:
    """How far the conserved quantities of the flow have drifted from their starts.

    Left: ‖B − B(0)‖/ρ² for the balancedness B = WᵀW − HHᵀ. Right: ‖Σ_k w_k − (Σ_k w_k)(0)‖/ρ. With decay, from where
    they decay to; a panel whose quantity a run does not conserve (``ulpm.invariants``) leaves that run out. Dashed: the
    relative tolerance of the integrator, if there was one; tolerances that differ are drawn in the colours of their
    runs. The left drift is truncation error and of its order or less; the right one is rounding whatever the method,
    but truncation error with decay.

    Args:
        path: The run.
        others: Runs that are laid over it.
        labels: A name for each run, in the legend.

    Source: both are exact along the flow dW/dt = RHᵀ, dH/dt = WᵀR, because (WᵀW)' = (HHᵀ)' and 1ᵀR = 0.
    """
    drawn = style.runs((path, *others), labels)
    figure = style.new_figure(11, 4.6, style.title("Drift of the invariants", drawn))
    panels = list(figure.subplots(1, 2))
    quantities = {
        "balancedness": r"$\Vert B-B(0)\Vert\,/\,\rho^2,\quad B=W^\top W-HH^\top$",
        "classifier_sum": r"$\Vert\sum{}_k\, w_k-\sum{}_k\, w_k(0)\Vert\,/\,\rho$",
    }
    tolerances = style.distinct(drawn, lambda run: run.path.config.get("rtol"))
    for axes, (name, quantity) in zip(panels, quantities.items(), strict=True):
        kept = [run for run in drawn if name in run.path.invariant_drift]
        curves = [style.draw(axes, run, run.path.invariant_drift[name]) for run in kept]
        axes.set_ylabel(quantity)
        if len(kept) < len(drawn):
            style.note(axes, "not conserved" if not kept else "left out where not conserved", 0.5, 0.5, ha="center")
        for _, tolerance, look in tolerances:
            axes.axhline(tolerance, **look)
        if curves:
            style.value_axis(axes, curves, rounding=0.0)
    theory = [Line2D([], [], **look, label=f"rtol = {style.number(tolerance)}") for _, tolerance, look in tolerances]
    _close(figure, drawn, panels, theory)
    return figure


def _optimum(run: Run) -> float | None:
    """v* of the run's own problem, None where it is not known."""
    value = run.path.problem.minimum_norm_value
    return value if math.isfinite(value) else None


def _why_unknown(drawn: Sequence[Run]) -> str:
    return " and ".join(_UNKNOWN[margins] for margins in sorted({run.path.problem.has_margins for run in drawn}))


def _without_optimum(drawn: Sequence[Run]) -> str:
    """The sizes of the problems whose v* is not known, a line each."""
    return "\n".join(dict.fromkeys(style.sizes(run.path.problem) for run in drawn if _optimum(run) is None))


def _loss_law(axes: Axes, run: Run, look: dict[str, Any]) -> None:
    """log10 of (v*/2κ)/(t log t) from t = 10 to the end of the run."""
    end = run.log10_time[-1]
    if end > 1:
        log10_time = torch.logspace(0, math.log10(end), 100, dtype=torch.float64, device="cpu")
        limit = late_limits(run.path.problem)[0]
        law = math.log10(limit) - log10_time - torch.log10(log10_time * math.log(10))
        axes.plot(log10_time.numpy(), law.numpy(), **look | {"linewidth": 1.4})


def _asymptotic_ratios(
    path: Trajectory, loss_limit: float, norm_limit: float
) -> tuple[Float[Tensor, " R *batch"], Float[Tensor, " R *batch"]]:
    """L t log t and ρ²/log t over their limits v*/2 and 2v*; nan before log t = 1."""
    log_time = torch.where(path.log_time >= 1, path.log_time, torch.nan)
    return torch.exp(path.log_loss + log_time) * log_time / loss_limit, path.squared_norm / log_time / norm_limit


def _ratio_panel(axes: Axes, drawn: Sequence[Run]) -> None:
    """Both ratios of each run whose v* is known, and their common limit 1; without any, the undivided quantities.

    Of flows that come to rest, the squared norm.
    """
    if not any(run.path.problem.has_margins for run in drawn):
        for run in drawn:
            style.draw(axes, run, run.path.squared_norm)
        axes.set_ylabel(r"$\rho^2$")
        axes.set_ylim(bottom=0)
        return
    known = [run for run in drawn if _optimum(run) is not None]
    late = [run for run in known or drawn if bool((run.path.log_time >= 1).any())]
    for run in late:
        loss, norm = _asymptotic_ratios(run.path, *(late_limits(run.path.problem) if _optimum(run) else (1.0, 1.0)))
        style.draw(axes, run, loss)
        style.draw(axes, run, norm, **_NORM_MARKER, markevery=0.09)
    labels, heading = (r"$L\,t\,\log t$", r"$\rho^2/\log t$"), f"$v^*$ is not known for {_why_unknown(drawn)}"
    if known:
        axes.axhline(1.0, **THEORY)
        plain = all(run.path.problem.loss.tail == 1 for run in known)
        loss_limit, norm_limit = ("v^*/2", "2v^*") if plain else (r"v^*/2\kappa", r"2v^*/\kappa")
        labels = (rf"$L\,t\,\log t\;/\;({loss_limit})$", rf"$(\rho^2/\log t)\;/\;({norm_limit})$")
        heading = f"left out, as $v^*$ is not known:\n{_without_optimum(drawn)}" if len(known) < len(drawn) else ""
    axes.set_ylabel("measured / predicted limit" if known else "value")
    handles = [Line2D([], [], color="0.25", label=labels[0])]
    handles.append(Line2D([], [], color="0.25", label=labels[1], **_NORM_MARKER))
    axes.set_ylim(bottom=0)
    axes.legend(handles=handles, fontsize=9, loc="upper right", title=heading or None, title_fontsize=9)
    if not late:
        style.note(axes, "drawn from $\\log t = 1$ on", 0.5, 0.5, ha="center")


def _margin_gap(axes: Axes, known: Sequence[Run]) -> tuple[bool, bool]:
    """1 − γ/γ*, and the law and measured exponent of the first run; which of the two are drawn."""
    curves = [style.draw(axes, run, 1 - run.path.margin_ratio) for run in known]
    axes.set_ylabel(r"$1-\gamma\,/\,\gamma^*$")
    style.time_axis(axes, known)
    if not style.value_axis(axes, curves):
        return False, False
    return laws.compare(axes, known[0], 1 - known[0].path.margin_ratio, laws.law_of(known[0], "margin deficit"))


def _close(figure: Figure, drawn: Sequence[Run], panels: Sequence[Axes], theory: Sequence[Line2D | Patch]) -> None:
    """Time axes, looks, and one legend below the panels."""
    for axes in panels:
        style.time_axis(axes, drawn)
        style.finish(axes)
    legend_below(figure, [*(run.proxy() for run in drawn), *theory], fontsize=10)
