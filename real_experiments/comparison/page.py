"""A comparison as a page: its summary, figures and tables."""

import math
from collections.abc import Mapping, Sequence

from real_experiments.comparison.analysis import FORECASTERS, Analysis
from real_experiments.comparison.forecast import PARTED, typical_factor
from real_experiments.comparison.network_run import NetworkRun
from real_experiments.comparison.pairing import OWN, Comparison
from real_experiments.comparison.rest import Rest
from real_experiments.comparison.slopes import INTERVALS, Slope
from real_experiments.comparison.words import BASELINE, CLOCK_NAMES, FLOW_NAMES, typical_factors, verdict
from real_experiments.markdown import table
from real_experiments.recipe import Recipe
from real_experiments.table import Row

__all__ = ["IN_WORDS", "SLOPES", "comparison_page", "rest_section", "slopes_section"]

IN_WORDS, SLOPES = "## Summary", "## Slopes in the terminal phase"
_ROUNDING = 1e-9
_TITLES = {"adam": "Adam", "adamw": "AdamW"}


def comparison_page(
    comparison: Comparison, analysis: Analysis, command: str, figures: Sequence[str], conservation: str
) -> str:
    """The page comparison.md, with a figure for each clock and one of Σ_k w_k."""
    run = comparison.run
    parts = [
        f"# {run.name}, compared with the model{_and_control(comparison)}",
        f"Made by `{command}`. The training used {_optimizer(run.recipe)}, batches of {run.recipe.batch_size}, weight "
        f"decay {run.recipe.weight_decay:g}, {run.rows[-1]['epoch']:g} epochs and seed {run.recipe.seed}. All metrics "
        "are measured on the training set in evaluation mode (running batch-norm statistics).",
        f"{IN_WORDS}\n\n" + "\n\n".join(verdict(comparison, analysis)),
        "\n\n".join(f"![{_alt(name)}]({name})" for name in figures),
        f"{SLOPES}\n\n" + slopes_section(comparison.terminal_rows(), analysis.epoch_slopes, analysis.loss_slopes),
        "## Forecasts\n\n" + _forecast_tables(comparison, analysis),
        "## Where network and model diverge\n\n" + _parting(comparison, analysis),
        *(
            []
            if comparison.rest is None
            else [f"## End states of network and model\n\n{rest_section(comparison.rest)}"]
        ),
        "## Checks against theory\n\n" + _theory(comparison, analysis),
        f"![Drift of the classifier sum]({conservation})",
    ]
    return "\n\n".join(parts) + "\n"


def _and_control(comparison: Comparison) -> str:
    """The control in the title, since one network may be compared with several."""
    if comparison.control is None:
        return ""
    return f" and a control: {comparison.control.recipe.deviation() or 'the same recipe'}"


def _optimizer(recipe: Recipe) -> str:
    """The optimiser with its numbers."""
    if recipe.optimizer != "sgd":
        return f"{_TITLES[recipe.optimizer]}, learning rate {recipe.learning_rate:g}"
    return f"learning rate {recipe.learning_rate:g}, momentum {recipe.momentum:g}"


def slopes_section(
    terminal: Sequence[Row],
    slopes: Mapping[str, Slope | None],
    loss_slopes: Mapping[str, Mapping[str, float | None]],
) -> str:
    """The text below the heading of the slopes. ``loss_slopes`` holds the network's first, then those of each flow."""
    who = ["network", *(name for name in loss_slopes if name != "network")]
    header = ["metric", "first → last epoch", "d log/d log epoch [interval]", "verdict"]
    header += ["d log/d log(1/loss): network", *(FLOW_NAMES[name] for name in who[1:])]
    rows = []
    for name, slope in slopes.items():
        values = f"{terminal[0][name]:.3g} → {terminal[-1][name]:.3g}" if terminal else "–"
        interval = "–" if slope is None else f"{slope.value:+.3f} [{slope.low:+.3f}, {slope.high:+.3f}]"
        verdict = "–" if slope is None else slope.verdict
        rows.append([f"`{name}`", values, interval, verdict, *(_signed(loss_slopes[each][name]) for each in who)])
    text = (
        f"Each slope is a least-squares fit over the measured epochs from zero training error to the end. {INTERVALS} "
        "Slopes of the flows are taken at the same losses. A dash means that the flow never has these losses."
    )
    return f"{text}\n\n{table(header, rows)}"


def _forecast_tables(comparison: Comparison, analysis: Analysis) -> str:
    about_cells = "Each cell shows the forecast and, in brackets, its error factor. "
    clocks = (
        "*Given the loss* means that we read the flow where its loss equals the network's. *Given the time only* means "
        "that we read it where its flow time equals the network's."
    )
    if comparison.rest is not None:
        clocks = (
            "*Given the time only* means that we read the flow where its flow time equals the network's. With weight "
            "decay the loss comes to rest, so it cannot serve as a clock."
        )
    sections = [about_cells + clocks]
    reached = analysis.forecasts[OWN][comparison.clocks[0]]
    for i, each in enumerate(reached):
        header = ["metric", f"network at epoch {each.epoch}", BASELINE]
        columns = [(flow, clock) for flow in FORECASTERS for clock in comparison.clocks]
        header += [f"{FLOW_NAMES[flow]}, {CLOCK_NAMES[clock]}" for flow, clock in columns]
        rows = []
        for name in comparison.compared:
            cells = [_cell(each.unchanged[name], each.unchanged_factor(name))]
            for flow, clock in columns:
                other = analysis.forecasts[flow][clock][i]
                cells.append(_cell(other.forecast[name], other.factor(name)))
            rows.append([f"`{name}`", f"{each.measured[name]:.4g}", *cells])
        means = [typical_factor([each.unchanged_factor(name) for name in comparison.compared])]
        means += [typical_factors(analysis.forecasts[flow][clock][i])[0] for flow, clock in columns]
        rows.append(["geometric mean of the factors", "", *(f"×{mean:.3g}" for mean in means)])
        sections.append(f"### {each.multiple} times the snapshot's epoch\n\n" + table(header, rows))
    if not reached:
        sections.append("The training ended before twice the snapshot's epoch.")
    return "\n\n".join(sections)


def _parting(comparison: Comparison, analysis: Analysis) -> str:
    columns = [(flow, clock) for flow in FORECASTERS for clock in comparison.clocks]
    end = int(comparison.run.rows[-1]["epoch"])
    header = ["metric", *(f"{FLOW_NAMES[flow]}, {CLOCK_NAMES[clock]}" for flow, clock in columns)]
    rows = []
    for name in comparison.compared:
        epochs = [analysis.parting[flow][clock][name] for flow, clock in columns]
        rows.append([f"`{name}`", *("not by the end" if epoch == end else f"after epoch {epoch}" for epoch in epochs)])
    text = (
        f"Network and model start together at epoch {comparison.snapshot}. They diverge after the epoch in the cell. "
        f"It is the last measured epoch at which they agree within {PARTED - 1:.0%}."
    )
    return f"{text}\n\n{table(header, rows)}"


def _theory(comparison: Comparison, analysis: Analysis) -> str:
    lower, upper = analysis.certificate
    v = comparison.problem.minimum_norm_value
    lines = [_law(comparison.run, analysis, "network")]
    if comparison.control is not None:
        lines.append(_law(comparison.control, analysis, "control"))
    if comparison.problem.has_margins:
        before, after = analysis.margin_ratio
        lines.append(f"- The normalised margin went from {before:.4g} to {after:.4g} of the largest one, γ* = 1/(2v*).")
        lines.append(
            f"- The certificate at the end gives {lower:.4g} ≤ v* ≤ {upper:.4g} for the margin problem with these "
            f"classes. The closed form is v* = {v:.4g}."
        )
    return "\n".join(lines)


_AT_REST = {
    "train_loss": "mean loss L/N",
    "objective": "objective Φ/N",
    "row_norm": "√(mean ‖w_k‖²)",
    "feature_norm": "√(mean ‖h_i‖²)",
    "product": "product of the two norms",
    "centered_norm": "√(mean ‖h_i − h̄‖²)",
    "mean_margin": "mean of the margins",
    "margin": "least margin q_min",
    "pull": "what the loss adds to ‖W‖² ÷ what decay takes",
}


def rest_section(rest: Rest) -> str:
    """Network, optimum of the model and its flows, side by side."""
    λ_W, λ_H = rest.weight_decay
    columns = {"network, last snapshot": rest.network}
    if rest.optimum is not None:
        columns["the model's optimum"] = rest.optimum
    columns |= {f"{FLOW_NAMES[name]}, at the network's last time": values for name, values in rest.flows.items()}
    names = {**_AT_REST, **{name: f"`{name}`" for name in rest.network if name not in _AT_REST}}
    rows = [[words, *(_plain(values[name]) for values in columns.values())] for name, words in names.items()]
    gap = "" if rest.duality_gap is None else f" The optimum has a duality gap of {rest.duality_gap:.1g}."
    text = (
        f"The model minimises Φ/N = L/N + ½λ_W‖W‖² + ½λ_H‖H‖² with λ_W = {λ_W:.4g}, the weight decay of the network "
        "(Zhu, Ding, Zhou, Li, You, Sulam, Qu, *A geometric analysis of neural collapse with unconstrained features*, "
        "2021). A network decays its parameters and not its features, so λ_H has no counterpart there. At rest "
        f"λ_W‖W‖² = λ_H‖H‖². From this we fit λ_H = {λ_H:.4g} to the norms of the last snapshot. So the ratio of the "
        "two norms is fitted, and everything else is predicted. Decay alone would have halved ‖W‖² "
        f"{rest.halvings:.2g} times during the training. With few halvings a network may still be far from rest. All "
        f"values are for the training set in evaluation mode.{gap}"
    )
    return f"{text}\n\n{table(['', *columns], rows)}"


def _plain(value: float) -> str:
    # At an optimum, what vanishes is of the size of rounding errors.
    return "0" if abs(value) < _ROUNDING else f"{value:.4g}"


def _law(run: NetworkRun, analysis: Analysis, which: str) -> str:
    """The law of Σ_k w_k under the optimiser, and whether the run obeyed it."""
    recipe, drift, error = run.recipe, analysis.classifier_sum_drift[which], analysis.nc0_law_error.get(which)
    name = "the network" if which == "network" else f"the control ({run.name})"
    first, last = run.rows[0], run.rows[-1]
    if not recipe.model_loss.conserves_sums:
        return (
            "- The gradient of the squared error in the logits does not sum to zero over the classes, so nothing "
            f"conserves Σ_k w_k. In {name} it moved by up to {drift:.2g} of ‖W‖, and `nc0` = ‖Σ_k w_k‖/‖W‖ went from "
            f"{first['nc0']:.3g} to {last['nc0']:.3g}."
        )
    if recipe.optimizer != "sgd":
        law = last.get("nc0_law", math.nan)
        conserved = f" Conservation would have left {law:.3g}." if math.isfinite(law) else ""
        return (
            f"- {_TITLES[recipe.optimizer]} does not conserve Σ_k w_k. In {name} it moved by up to {drift:.2g} of ‖W‖"
            + (
                f", up to {error:.2g} of ‖W‖ away from weight decay alone. "
                if recipe.weight_decay and error is not None
                else ". "
            )
            + f"`nc0` = ‖Σ_k w_k‖/‖W‖ went from {first['nc0']:.3g} to {last['nc0']:.3g}.{conserved} The uncentred rows "
            "of W form a simplex only if `nc0` vanishes."
        )
    if recipe.weight_decay == 0:
        return (
            "- Stochastic gradient descent without weight decay conserves Σ_k w_k exactly. In "
            f"{name} it drifted by at most {drift:.2g} of ‖W‖, which is rounding."
        )
    kind = "decoupled" if recipe.decoupled_decay else "coupled"
    by_law = "" if error is None else f" It stayed within {error:.2g} of ‖W‖ of the law of {kind} decay."
    return (
        f"- With weight decay {recipe.weight_decay:g} Σ_k w_k decays. In {name} it moved by up to {drift:.2g} of ‖W‖ "
        f"in {last['epoch']:g} epochs.{by_law}"
    )


def _cell(value: float, factor: float) -> str:
    return f"{value:.4g} (×{factor:.3g})" if math.isfinite(factor) else "–"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3f}"


def _alt(name: str) -> str:
    return "Metrics against the training loss" if "time" not in name else "Metrics against flow time"
