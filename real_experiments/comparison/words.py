"""The summary of a comparison in words. Every sentence is made from the numbers."""

import math
from collections.abc import Mapping, Sequence

from real_experiments.comparison.analysis import FORECASTERS, Analysis, doubt
from real_experiments.comparison.curves import PAPER, Clock
from real_experiments.comparison.forecast import Forecast, typical_factor
from real_experiments.comparison.pairing import OWN, OWN_MOBILE, RANDOM, RANDOM_MOBILE, Comparison
from real_experiments.comparison.rest import Rest
from real_experiments.comparison.slopes import Slope
from real_experiments.table import Row

__all__ = ["BASELINE", "CLOCK_NAMES", "FLOW_NAMES", "terminal_words", "typical_factors", "verdict"]

FLOW_NAMES = {
    OWN: "the plain model",
    OWN_MOBILE: "the model with faster features",
    RANDOM: "random start",
    RANDOM_MOBILE: "random start, faster features",
}
BASELINE = "constant baseline"
"""The forecast that every metric stays as it was at the snapshot."""
CLOCK_NAMES: dict[Clock, str] = {"train_loss": "given the loss", "flow_time": "given the time only"}


def verdict(comparison: Comparison, analysis: Analysis) -> list[str]:
    """Paragraphs in Markdown that summarise the comparison."""
    terminal = terminal_words(comparison.terminal_rows(), analysis.epoch_slopes, analysis.late_slopes)
    rest = [] if comparison.rest is None else [rest_words(comparison.rest)]
    return [terminal, *rest, *_forecast_words(comparison, analysis), _mobility_words(comparison)]


def rest_words(rest: Rest) -> str:
    """Whether a network with decay has come to rest, and how far it is from its model's optimum."""
    network, best = rest.network, rest.optimum
    words = (
        "With weight decay the model comes to rest. At rest the loss adds as much to ‖W‖² as decay takes away. In the "
        f"network's last state it adds {network['pull']:.3g} times as much: "
    )
    words += "at rest within 5%. " if abs(network["pull"] - 1) < 0.05 else "not at rest. "
    if best is None:
        return words + "The optimum of this model is not known, so we compare only its flows."
    return words + (
        "Relative to the model's optimum, the network has "
        f"×{network['row_norm'] / best['row_norm']:.3g} the norm of the rows, "
        f"×{network['feature_norm'] / best['feature_norm']:.3g} the norm of the features, "
        f"×{network['mean_margin'] / best['mean_margin']:.3g} the mean margin and "
        f"×{network['objective'] / best['objective']:.3g} the objective. We fitted the ratio of the two "
        "norms; the model predicts the rest."
    )


def terminal_words(
    terminal: Sequence[Row], slopes: Mapping[str, Slope | None], late_slopes: Mapping[str, Slope | None]
) -> str:
    """Which metrics fall after zero training error, from the rows there and the slopes by metric."""
    if not terminal:
        return "The network never reached zero training error, so it has no terminal phase."
    first, last = int(terminal[0]["epoch"]), int(terminal[-1]["epoch"])
    doubts = {name: doubt(slope, late_slopes[name]) for name, slope in slopes.items()}
    falling = sum(not why for why in doubts.values())
    kept = all(row["train_error"] == 0 for row in terminal)
    since = (
        f"has zero training error from epoch {first} on" if kept else f"first has zero training error at epoch {first}"
    )
    words = (
        f"The network {since}, and {last - first} epochs follow. In this phase "
        f"{falling} of {len(slopes)} metrics fall: the confidence interval of the slope lies below zero"
    )
    named = ", ".join(f"`{name}` ({why})" for name, why in doubts.items() if why)
    return f"{words}. These metrics are not shown to fall: {named}." if named else f"{words}."


def _forecast_words(comparison: Comparison, analysis: Analysis) -> list[str]:
    reached = analysis.forecasts[OWN][comparison.clocks[0]]
    if not reached:
        return [f"The training ended before twice the snapshot's epoch {comparison.snapshot}, so there is no forecast."]
    sentences = [_summary_of(analysis, flow) for flow in FORECASTERS]
    lines = [
        "| error factor, geometric mean over the metrics | " + " | ".join(f"epoch {e.epoch}" for e in reached) + " |"
    ]
    lines.append("|---" * (len(reached) + 1) + "|")
    lines.append(_row(BASELINE, [typical_factors(each)[1] for each in reached]))
    for flow in FORECASTERS:
        for clock in comparison.clocks:
            factors = [typical_factors(each)[0] for each in analysis.forecasts[flow][clock]]
            lines.append(_row(f"{FLOW_NAMES[flow]}, {CLOCK_NAMES[clock]}", factors))
    start = (
        f"Two models forecast the metrics from the network's (W, H) at epoch {comparison.snapshot}. The {BASELINE} "
        "assumes that every metric stays as it was then. "
    )
    return [start + " ".join(sentences), "\n".join(lines)]


def _summary_of(analysis: Analysis, flow: str) -> str:
    """Two sentences about the forecasts of a flow, at all epochs and by both clocks."""
    made = [each for of_clock in analysis.forecasts[flow].values() for each in of_clock]
    every = [each for each in made if math.isfinite(typical_factors(each)[0])]
    if not every:
        return f"{FLOW_NAMES[flow].capitalize()} never reaches the network's loss or time, so it makes no forecast."
    closer = sum(model < unchanged for model, unchanged in map(typical_factors, every))
    least = min(len(each.better) for each in every)
    where = {0: f"none of {len(every)}", len(every): f"all {len(every)}"}.get(closer, f"{closer} of {len(every)}")
    return (
        f"Averaged over the metrics, {FLOW_NAMES[flow]} beats the {BASELINE} in {where} forecasts. In each forecast it "
        f"is better in at least {least} of {len(every[0].measured)} metrics."
    )


def _row(name: str, factors: Sequence[float]) -> str:
    return f"| {name} | " + " | ".join(f"×{factor:.3g}" if math.isfinite(factor) else "–" for factor in factors) + " |"


def _mobility_words(comparison: Comparison) -> str:
    (w0, h0), (w1, h1) = comparison.norms["snapshot"], comparison.norms["end"]
    gained = f"{(h1 - h0) / (w1 - w0):.3g}" if w1 > w0 else "–"
    if comparison.rest is not None:
        bias = "; its bias moves √c times as fast" if comparison.run.recipe.bias else ""
        return (
            "We use two models because a step of the network moves the features of many samples together. After the "
            f"snapshot ‖W‖² went from {w0:.4g} to {w1:.4g}, and ‖H‖² from {h0:.4g} to {h1:.4g}. The model with *faster "
            f"features* has dH/dt = c (WᵀR − λ_H H) with c = ‖H‖²/‖W‖² = {comparison.mobility:.4g}, read off the "
            f"snapshot{bias}. Both models minimise the same objective and end in the same state."
        )
    return (
        "We use two models because a step of the network moves the features of many samples together. The plain model "
        "conserves ‖H‖² − ‖W‖², so both squared norms gain the same. In this network ‖W‖² went from "
        f"{w0:.4g} to {w1:.4g} after the snapshot, and ‖H‖² from {h0:.4g} to {h1:.4g}, {gained} times as much. The "
        f"model with *faster features* has dH/dt = c WᵀR with c = ‖H‖²/‖W‖² = {comparison.mobility:.4g}, read off the "
        "snapshot; nothing is fitted. It is the model itself in other units of W and H, in which both norms are equal. "
        "Every metric here is the same in both units."
    )


def typical_factors(each: Forecast, paper_only: bool = False) -> tuple[float, float]:
    """Geometric means of the error factors of the flow and of the constant baseline.

    Over all metrics, or over the metrics of the paper alone. nan for a flow that makes no forecast there.
    """
    names = [name for name in each.measured if name in PAPER or not paper_only]
    unchanged = {name: each.unchanged_factor(name) for name in names}
    known = [name for name in names if math.isfinite(unchanged[name])]
    said = [factor for name in known if math.isfinite(factor := each.factor(name))]
    return typical_factor(said), typical_factor([unchanged[name] for name in known])
