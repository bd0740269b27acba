"""The numbers of a comparison: slopes, forecast errors, where the curves diverge, and checks against theory."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from real_experiments.comparison.curves import Clock, Curve
from real_experiments.comparison.forecast import Forecast, forecast, last_agreement
from real_experiments.comparison.pairing import OWN, OWN_MOBILE, Comparison
from real_experiments.comparison.slopes import Slope, fitted_slope
from real_experiments.table import Row

__all__ = ["FORECASTERS", "MULTIPLES", "Analysis", "analyse", "doubt", "finite", "terminal_slopes"]

FORECASTERS = (OWN, OWN_MOBILE)
MULTIPLES = (2, 5)


@dataclasses.dataclass(frozen=True)
class Analysis:
    """The numbers of a comparison.

    epoch_slopes     of each metric against the epoch, over the terminal phase: None where no line can be fitted
    late_slopes      the same over the later half of that phase: a metric may fall first and rise in the end
    loss_slopes      d log metric/d log(1/mean loss) of the network there, and of each flow over the same losses
    forecasts        by flow and clock, those for 2 and 5 times the snapshot's epoch that the training reached
    parting          by flow, clock and metric: the last measured epoch at which both agree within 10%
    classifier_sum_drift   greatest ‖Σ_k w_k − Σ_k w_k(0)‖/‖W‖ of the network, and of the control
    nc0_law_error          greatest distance of Σ_k w_k from its law, relative to ‖W‖, of the same; {} for runs without
    balancedness_gain      what ‖W‖² and ‖H‖² gained from the snapshot to the last one
    margin_ratio           γ/γ* at the snapshot and at the end; nan for a model whose margins do not grow for ever
    certificate            the bounds of v* that the last measured epoch proves; nan for a loss without margin problem
    """

    epoch_slopes: dict[str, Slope | None]
    late_slopes: dict[str, Slope | None]
    loss_slopes: dict[str, dict[str, float | None]]
    forecasts: dict[str, dict[Clock, list[Forecast]]]
    parting: dict[str, dict[Clock, dict[str, int]]]
    classifier_sum_drift: dict[str, float]
    nc0_law_error: dict[str, float]
    balancedness_gain: tuple[float, float]
    margin_ratio: tuple[float, float]
    certificate: tuple[float, float]

    def not_falling(self) -> list[str]:
        """The metrics that are not shown to fall, or that rise in the later half."""
        return [name for name, slope in self.epoch_slopes.items() if doubt(slope, self.late_slopes[name])]

    def to_json(self) -> dict[str, Any]:
        """Everything as valid JSON; what is not finite is None."""
        plain: dict[str, Any] = finite(dataclasses.asdict(self))
        return plain


def doubt(slope: Slope | None, late: Slope | None) -> str:
    """Why a metric is not shown to fall, in a few words; empty if it falls."""
    if slope is None:
        return "no line was fitted"
    if slope.verdict != "falls":
        return "it rises" if slope.low > 0 else "the interval contains 0"
    return "it falls first and rises in the later half" if late is not None and late.low > 0 else ""


def analyse(comparison: Comparison) -> Analysis:
    """The numbers of a comparison."""
    run, rows = comparison.run, comparison.run.rows
    terminal = comparison.terminal_rows()
    losses = np.array([row["train_loss"] for row in terminal], dtype=float)
    compared, clocks = comparison.compared, comparison.clocks
    columns = {name: np.array([row[name] for row in terminal], dtype=float) for name in compared}
    loss_slopes: dict[str, dict[str, float | None]] = {"network": _slopes_against_loss(losses, columns)}
    for name, curve in comparison.flows.items():
        loss_slopes[name] = _flow_slopes(curve, losses, compared)
    flows = {name: comparison.flows[name] for name in FORECASTERS}
    forecasts: dict[str, dict[Clock, list[Forecast]]] = {
        name: {clock: _forecasts(comparison, flow, clock) for clock in clocks} for name, flow in flows.items()
    }
    parting: dict[str, dict[Clock, dict[str, int]]] = {
        name: {
            clock: {key: last_agreement(rows, comparison.snapshot, flow, clock, key) for key in compared}
            for clock in clocks
        }
        for name, flow in flows.items()
    }
    before, after = comparison.norms["snapshot"], comparison.norms["end"]
    start, end = comparison.snapshot_row, rows[-1]
    v = comparison.problem.minimum_norm_value
    runs = {"network": run} | ({} if comparison.control is None else {"control": comparison.control})
    drift = {name: max(row["classifier_sum_drift"] for row in each.rows) for name, each in runs.items()}
    errors = {name: [row.get("nc0_law_error", math.nan) for row in each.rows] for name, each in runs.items()}
    broken = {name: float(np.fmax.reduce(found)) for name, found in errors.items()}
    return Analysis(
        *terminal_slopes(terminal, compared),
        loss_slopes,
        forecasts,
        parting,
        drift,
        {name: error for name, error in broken.items() if math.isfinite(error)},
        (after[0] - before[0], after[1] - before[1]),
        (2 * v * start["normalised_margin"], 2 * v * end["normalised_margin"]),
        (end.get("certificate_lower_bound", math.nan), end.get("certificate_nuclear_upper_bound", math.nan)),
    )


def terminal_slopes(
    terminal: Sequence[Row], names: Sequence[str]
) -> tuple[dict[str, Slope | None], dict[str, Slope | None]]:
    """``Analysis.epoch_slopes`` and ``Analysis.late_slopes`` of the measurements after zero training error."""
    found = []
    for part in (terminal, terminal[len(terminal) // 2 :]):
        epochs = np.array([row["epoch"] for row in part], dtype=float)
        found.append({name: fitted_slope(epochs, np.array([row[name] for row in part], dtype=float)) for name in names})
    return found[0], found[1]


def _forecasts(comparison: Comparison, flow: Curve, clock: Clock) -> list[Forecast]:
    found = (forecast(comparison.run.rows, comparison.snapshot, flow, clock, multiple) for multiple in MULTIPLES)
    return [each for each in found if each is not None]


def _slopes_against_loss(losses: np.ndarray, columns: dict[str, np.ndarray]) -> dict[str, float | None]:
    slopes = {name: fitted_slope(1 / losses, values) for name, values in columns.items()}
    return {name: None if slope is None else slope.value for name, slope in slopes.items()}


def _flow_slopes(curve: Curve, losses: np.ndarray, compared: Sequence[str]) -> dict[str, float | None]:
    """Slopes over those losses of the network's terminal phase that the flow meets, at those losses.

    A metric that is undefined, infinite or zero at one of them has none, and takes none from the others.
    """
    values = [curve.at("train_loss", loss) for loss in losses]
    met = [i for i, value in enumerate(values) if not all(math.isnan(v) for v in value.values())]
    columns = {name: np.array([values[i][name] for i in met]) for name in compared}
    return _slopes_against_loss(losses[met], columns)


def finite(value: Any) -> Any:
    """Plain values as JSON can hold them: what is not finite is None."""
    if isinstance(value, dict):
        return {name: finite(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    return value if not isinstance(value, float) or math.isfinite(value) else None
