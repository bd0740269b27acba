"""The verdict of a comparison in words, all of them made from its numbers, whichever way they turn out."""

import math
from collections.abc import Mapping, Sequence

from real_experiments.comparison.analysis import FORECASTERS, Analysis, doubt
from real_experiments.comparison.curves import PAPER, Clock
from real_experiments.comparison.forecast import Forecast, typical_factor
from real_experiments.comparison.pairing import OWN, OWN_MOBILE, RANDOM, RANDOM_MOBILE, Comparison
from real_experiments.comparison.rest import Rest
from real_experiments.comparison.slopes import Slope
from real_experiments.table import Row

__all__ = ["CLOCK_NAMES", "FLOW_NAMES", "terminal_words", "typical_factors", "verdict"]

FLOW_NAMES = {
    OWN: "the plain model",
    OWN_MOBILE: "the model with faster features",
    RANDOM: "random start",
    RANDOM_MOBILE: "random start, faster features",
}
CLOCK_NAMES: dict[Clock, str] = {"train_loss": "given the loss", "flow_time": "given the time only"}


def verdict(comparison: Comparison, analysis: Analysis) -> list[str]:
    """Paragraphs in Markdown that say what came out, good or bad."""
    terminal = terminal_words(comparison.terminal_rows(), analysis.epoch_slopes, analysis.late_slopes)
    rest = [] if comparison.rest is None else [rest_words(comparison.rest)]
    return [terminal, *rest, *_forecast_words(comparison, analysis), _mobility_words(comparison)]


def rest_words(rest: Rest) -> str:
    """Whether a network with decay has come to rest, and whether that is where its model says."""
    network, best = rest.network, rest.optimum
    words = (
        "With weight decay the model comes to rest, where the loss adds to ‖W‖² what decay takes. In the network's "
        f"last state it adds {network['pull']:.3g} times that: "
    )
    words += "at rest within 5%. " if abs(network["pull"] - 1) < 0.05 else "not at rest. "
    if best is None:
        return words + "The optimum of this model is not known, so that its flows alone are compared."
    return words + (
        f"Compared with the model's optimum it has ×{network['row_norm'] / best['row_norm']:.3g} the norm of the rows, "
        f"×{network['feature_norm'] / best['feature_norm']:.3g} that of the features, "
        f"×{network['mean_margin'] / best['mean_margin']:.3g} the mean margin and "
        f"×{network['objective'] / best['objective']:.3g} the objective. The ratio of both norms is fitted, the rest "
        "is predicted."
    )


def terminal_words(
    terminal: Sequence[Row], slopes: Mapping[str, Slope | None], late_slopes: Mapping[str, Slope | None]
) -> str:
    """Which metrics fall after zero training error, from the rows there and the slopes by metric."""
    if not terminal:
        return "The network never reached zero training error: there is no terminal phase to speak of."
    first, last = int(terminal[0]["epoch"]), int(terminal[-1]["epoch"])
    doubts = {name: doubt(slope, late_slopes[name]) for name, slope in slopes.items()}
    falling = sum(not why for why in doubts.values())
    kept = all(row["train_error"] == 0 for row in terminal)
    since = f"has no training error from epoch {first} on" if kept else f"first has no training error at epoch {first}"
    words = (
        f"The network {since}, and {last - first} epochs follow. Over these "
        f"{falling} of {len(slopes)} metrics fall: the confidence interval of the slope lies below zero"
    )
    named = ", ".join(f"`{name}` ({why})" for name, why in doubts.items() if why)
    return f"{words}. Not shown to fall: {named}." if named else f"{words}."


def _forecast_words(comparison: Comparison, analysis: Analysis) -> list[str]:
    reached = analysis.forecasts[OWN][comparison.clocks[0]]
    if not reached:
        return [f"The training ended before twice the snapshot's epoch {comparison.snapshot}: nothing was forecast."]
    sentences = [_summary_of(analysis, flow) for flow in FORECASTERS]
    lines = ["| off by, geometric mean over the metrics | " + " | ".join(f"epoch {e.epoch}" for e in reached) + " |"]
    lines.append("|---" * (len(reached) + 1) + "|")
    lines.append(_row("no change", [typical_factors(each)[1] for each in reached]))
    for flow in FORECASTERS:
        for clock in comparison.clocks:
            factors = [typical_factors(each)[0] for each in analysis.forecasts[flow][clock]]
            lines.append(_row(f"{FLOW_NAMES[flow]}, {CLOCK_NAMES[clock]}", factors))
    start = f"Forecasts from the network's (W, H) at epoch {comparison.snapshot}. "
    return [start + " ".join(sentences), "\n".join(lines)]


def _summary_of(analysis: Analysis, flow: str) -> str:
    """One sentence about the forecasts of a flow, at all epochs and by both clocks."""
    made = [each for of_clock in analysis.forecasts[flow].values() for each in of_clock]
    every = [each for each in made if math.isfinite(typical_factors(each)[0])]
    if not every:
        return f"{FLOW_NAMES[flow].capitalize()} is never where the network is: it forecasts nothing."
    closer = sum(model < unchanged for model, unchanged in map(typical_factors, every))
    least = min(len(each.better) for each in every)
    verdict = {0: "no closer than no change", len(every): "closer than no change"}.get(
        closer, f"closer than no change in {closer} of {len(every)} forecasts"
    )
    where = f" in all {len(every)} forecasts" if closer in (0, len(every)) else ""
    return (
        f"{FLOW_NAMES[flow].capitalize()} is {verdict}{where}, taken over all metrics, and better in at least {least} "
        f"of {len(every[0].measured)} metrics."
    )


def _row(name: str, factors: Sequence[float]) -> str:
    return f"| {name} | " + " | ".join(f"×{factor:.3g}" if math.isfinite(factor) else "–" for factor in factors) + " |"


def _mobility_words(comparison: Comparison) -> str:
    (w0, h0), (w1, h1) = comparison.norms["snapshot"], comparison.norms["end"]
    gained = f"{(h1 - h0) / (w1 - w0):.3g}" if w1 > w0 else "–"
    if comparison.rest is not None:
        bias = "; the bias moves √c times as fast there" if comparison.run.recipe.bias else ""
        return (
            f"Why two models: in this network ‖W‖² went from {w0:.4g} to {w1:.4g} and ‖H‖² from {h0:.4g} to {h1:.4g} "
            "after the snapshot: a step of the network moves the features of many samples together. *Faster features* "
            f"obey dH/dt = c (WᵀR − λ_H H) with c = ‖H‖²/‖W‖² = {comparison.mobility:.4g}, read off the snapshot"
            f"{bias}. They minimise the same objective, and end in the same state."
        )
    return (
        f"Why two models: free features and classifier gain the same in the model (‖H‖² − ‖W‖² is conserved), but in "
        f"this network ‖W‖² went from {w0:.4g} to {w1:.4g} and ‖H‖² from {h0:.4g} to {h1:.4g} after the snapshot, "
        f"{gained} times as much: a step of the network moves the features of many samples together. *Faster features* "
        f"obey dH/dt = c WᵀR with c = ‖H‖²/‖W‖² = {comparison.mobility:.4g}, read off the snapshot and fitted to "
        "nothing; this is the model itself in other units of W and H, in which both norms are equal, and every metric "
        "here is the same in both."
    )


def typical_factors(each: Forecast, paper_only: bool = False) -> tuple[float, float]:
    """Geometric means of the factors by which the flow and the forecast of no change are off.

    Over all metrics, or over those of the paper alone. nan for a flow that says nothing there.
    """
    names = [name for name in each.measured if name in PAPER or not paper_only]
    unchanged = {name: each.unchanged_factor(name) for name in names}
    known = [name for name in names if math.isfinite(unchanged[name])]
    said = [factor for name in known if math.isfinite(factor := each.factor(name))]
    return typical_factor(said), typical_factor([unchanged[name] for name in known])
