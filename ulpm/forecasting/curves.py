"""Metrics as curves on clocks that a network in training and a flow of the model both have."""

import dataclasses
from collections.abc import Mapping
from typing import Literal

import numpy as np
from jaxtyping import Float

from ulpm.trajectory import Status, Trajectory

__all__ = ["CLOCKS", "COMPARED", "PAPER", "Clock", "Curve", "flow_curve"]

Clock = Literal["train_loss", "flow_time"]
"""Mean training loss, a clock that needs no conversion; or time of the summed-loss flow since the network's start."""

CLOCKS: tuple[Clock, ...] = ("train_loss", "flow_time")

PAPER = (
    "nc2_norm_means",
    "nc2_norm_classifier_centered",
    "nc1_distance",
    "nc2_angle_means",
    "nc2_angle_classifier_centered",
    "nc3_duality",
)
"""The quantities that Ji et al. (2022) follow, in the order of the panels of their figures."""

COMPARED = (
    *PAPER,
    "nc2_etf_means",
    "nc2_etf_classifier_centered",
    "nc1_pinv",
    "nc1_ratio",
    "nc1_cdnv",
    "nc0",
    "nc2_norm_classifier",
    "nc2_angle_classifier",
    "nc2_etf_classifier",
    "nc3_difference",
    "nc3_product",
)
"""The metrics that are compared: all but nc4_mismatch, a share of samples that is mostly exactly 0."""


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
    """Records in order: mean loss L/N, flow time t, and metrics (keys of ``ulpm.neural_collapse``), one array each."""

    train_loss: Float[np.ndarray, " R"]
    flow_time: Float[np.ndarray, " R"]
    metrics: Mapping[str, Float[np.ndarray, " R"]]

    def clock(self, clock: Clock) -> Float[np.ndarray, " R"]:
        """The records' readings of a clock."""
        return self.train_loss if clock == "train_loss" else self.flow_time

    def at(self, clock: Clock, reading: float) -> dict[str, float]:
        """Every metric where the clock reads ``reading``, nan if it never does.

        Between records the logarithm of a metric is linear in that of the loss, or in the time. A loss that is met
        more than once counts where it is met last. A reading that agrees with a record to rounding is that record.
        """
        values = self.clock(clock)
        # A time has a unit, in which a network may take 1e-9 for all of its training; the log of a loss has none.
        unit = 0.0
        if clock == "train_loss":
            with np.errstate(divide="ignore", invalid="ignore"):
                values, reading, unit = -np.log(values), -np.log(reading), 1.0
        rounding = 1e-9 * max(unit, abs(reading)) if np.isfinite(reading) else 0.0
        first = _first_at_or_after(values, reading, rounding)
        if first is None:
            return dict.fromkeys(self.metrics, np.nan)
        # Not 0·log of the record before, which is nan where that is 0 or infinite.
        if reading >= values[first] - rounding:
            return {name: float(metric[first]) for name, metric in self.metrics.items()}
        if not np.isfinite(values[first]):  # no distance from a loss of 0
            return dict.fromkeys(self.metrics, np.nan)
        share = (reading - values[first - 1]) / (values[first] - values[first - 1])
        with np.errstate(divide="ignore", invalid="ignore"):
            return {
                name: float(np.exp((1 - share) * np.log(metric[first - 1]) + share * np.log(metric[first])))
                for name, metric in self.metrics.items()
            }


def flow_curve(path: Trajectory, mobility: float, starts_at: float, ends_at: float = 0.0) -> Curve:
    """A flow of the model as a curve; see ``model_flow`` for its ``mobility``. ``starts_at`` is the network's time.

    A flow that has come to rest stays there until ``ends_at``.
    """
    time = starts_at + np.exp(path.log_time.numpy(force=True)) / np.sqrt(mobility)
    loss = np.exp(path.log_loss.numpy(force=True)) / path.problem.num_samples
    if path.log_penalty is not None:  # what is minimised has the decay in it, a network's training loss has not
        loss = loss - np.exp(path.log_penalty.numpy(force=True)) / path.problem.num_samples
    metrics = {name: path.metrics[name].numpy(force=True) for name in COMPARED}
    if path.status is Status.CONVERGED and time[-1] < ends_at:
        time, loss = np.append(time, ends_at), np.append(loss, loss[-1])
        metrics = {name: np.append(values, values[-1]) for name, values in metrics.items()}
    return Curve(loss, time, metrics)


def _first_at_or_after(values: Float[np.ndarray, " R"], reading: float, rounding: float) -> int | None:
    """The record where a clock that mostly rises passes ``reading`` for good; None if it ends before, or begins after.

    The first record counts as passed where it agrees to rounding, since both worlds begin there.
    """
    before = np.flatnonzero(values < reading - rounding)
    first = int(before[-1]) + 1 if len(before) else 0
    begins_after = first == 0 and not values[0] <= reading + rounding  # nor is nan ever read
    return None if first == len(values) or begins_after else first
