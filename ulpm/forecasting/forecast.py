"""Metrics of a network at later epochs, from two snapshots, as the flow of the model goes on from the second."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ulpm import _checks
from ulpm.features import Features
from ulpm.features.classes import listed
from ulpm.forecasting.curves import COMPARED, Curve
from ulpm.forecasting.model_flow import ModelFlow, measured_mobility
from ulpm.metrics import neural_collapse
from ulpm.objective import log_loss
from ulpm.problem import Problem
from ulpm.state import State

__all__ = ["FlowForecast", "Forecast", "forecast", "off_by", "typical_factor"]

PLAIN, MOBILE = "plain", "mobile"

# Up to this quotient of the norms a tolerance is as it was given, and never below the other.
_UNEQUAL, _TIGHTEST = 1e3, 1e-10


@dataclasses.dataclass(frozen=True, eq=False)
class FlowForecast:
    """What one flow says of the later epochs.

    Attributes:
        mobility: How many times faster features move than in the model, relative to the classifier.
        time_per_epoch: The flow time of an epoch.
        metrics: Of each key, the values at the later epochs.
        train_loss: The mean loss at the later epochs.
        checked: The metrics at the second snapshot as the flow from the first forecasts them; None where the time of an
            epoch was given.
        curve: The flow from the second snapshot to the last epoch.
    """

    mobility: float
    time_per_epoch: float
    metrics: dict[str, list[float]]
    train_loss: list[float]
    checked: dict[str, float] | None
    curve: Curve


@dataclasses.dataclass(frozen=True, eq=False)
class Forecast:
    """Forecasts by the model itself ("plain") and with features that move faster ("mobile").

    Attributes:
        epochs: Those of the two snapshots.
        at: The later epochs.
        first: The metrics at the first snapshot.
        second: The metrics at the second snapshot.
        train_loss: The mean loss at the two snapshots.
        flows: A FlowForecast under each of the two names.
        gained: Another reading of the mobility, Δ‖H‖²/Δ‖W‖² from the first snapshot to the second; None where ‖W‖² did
            not grow.

    >>> problem = ulpm.Problem([5] * 3, feature_dim=4)
    >>> path = ulpm.gradient_flow(problem, problem.random_state(seed=0, scale=2.0), log_time=1.0, snapshots=3)
    >>> W, H = path.snapshots.W, path.snapshots.H
    >>> first, second = (ulpm.Features.of(H[i].T, problem.labels, W[i]) for i in (0, 1))
    >>> result = ulpm.forecast(first, second, epochs=(10, 20), at=[40], rtol=1e-4)
    >>> list(result.flows), result.at, sorted(result.check())
    (['plain', 'mobile'], (40.0,), ['constant', 'mobile', 'plain'])
    """

    epochs: tuple[float, float]
    at: tuple[float, ...]
    first: dict[str, float]
    second: dict[str, float]
    train_loss: tuple[float, float]
    flows: Mapping[str, FlowForecast]
    gained: float | None

    def check(self) -> dict[str, float]:
        """By what factor each forecast of the second snapshot from the first is off, and that of constant metrics.

        Returns:
            The geometric mean of the factors ≥ 1 over the metrics that are known everywhere, for "plain", "mobile" and
            "constant"; {} where the time of an epoch was given.
        """
        forecasts = {name: flow.checked for name, flow in self.flows.items() if flow.checked is not None}
        if not forecasts:
            return {}
        forecasts["constant"] = self.first
        names = [n for n in self.second if all(math.isfinite(off_by(f[n], self.second[n])) for f in forecasts.values())]
        return {
            name: typical_factor([off_by(found[n], self.second[n]) for n in names]) for name, found in forecasts.items()
        }

    def to_json(self) -> dict[str, Any]:
        """Everything as valid JSON; what is not finite is None."""
        flows = {name: {k: v for k, v in vars(flow).items() if k != "curve"} for name, flow in self.flows.items()}
        record = {**vars(self), "flows": flows, "off_by": self.check()}
        plain: dict[str, Any] = _finite(record)
        return plain


def forecast(
    first: Features,
    second: Features,
    epochs: tuple[float, float],
    at: Sequence[float],
    *,
    time_per_epoch: float | None = None,
    rtol: float = 1e-6,
    progress: bool = False,
) -> Forecast:
    """Metrics of a network at the epochs ``at``, from its features and classifier at two earlier ``epochs``.

    The unconstrained model's flow goes on from the second snapshot (W, H, b), with R = Y − softmax(W H + b 1ᵀ) and the
    one-hot labels Y:

        plain     dW/dt = R Hᵀ,   dH/dt = Wᵀ R
        mobile    dW/dt = R Hᵀ,   dH/dt = c Wᵀ R,   c = ‖H‖²/‖W‖² as read off that snapshot

    It is the flow of the summed cross-entropy of these samples, without weight decay.

    An epoch lasts as long as the flow takes from the loss of the first snapshot to that of the second, divided by their
    distance; each flow has its own.

    Args:
        first: The features [N, d] of the training samples with their labels and the classifier, at the first epoch.
        second: The same at the second epoch.
        epochs: The epochs of the two snapshots, the first before the second.
        at: The later epochs, in rising order.
        time_per_epoch: The flow time of an epoch, if it is known: η S/((1−β) N) for S steps an epoch of SGD with rate η
            and momentum β on the mean loss of N samples.
        rtol: The tolerance of the flows, as for ``ulpm.gradient_flow``. Where the norms of W and H differ by more than
            a factor of 1000, the plain flow gets a smaller one, since it is relative to the larger norm.
        progress: Whether to show a progress bar.

    Returns:
        A Forecast with the metrics that a change of c leaves comparable. These are all keys of
        ``ulpm.neural_collapse`` but nc4_mismatch.

    Raises:
        TypeError: For what is no Features, or no sequence of epochs.
        ValueError: If a snapshot has no classifier or is all zero, both are not of the same problem, the loss has not
            fallen, epochs are not in order, or a flow does not get to its end.
        OSError: If the features lie in a file that cannot be read.

    >>> problem = ulpm.Problem([5] * 3, feature_dim=4)
    >>> path = ulpm.gradient_flow(problem, problem.random_state(seed=0, scale=2.0), log_time=1.0, snapshots=3)
    >>> W, H = path.snapshots.W, path.snapshots.H
    >>> first, second = (ulpm.Features.of(H[i].T, problem.labels, W[i]) for i in (0, 1))
    >>> result = ulpm.forecast(first, second, epochs=(10, 20), at=[40], rtol=1e-4)
    >>> round(result.check()["plain"], 3)  # the model forecasts itself
    1.0
    """
    for name, given in (("first", first), ("second", second)):
        if not isinstance(given, Features):
            raise TypeError(
                f"{name} must be ulpm.Features, as ulpm.load_features returns, but it is {_checks.shown(given)}."
            )
    for name, values in (("epochs", epochs), ("at", at)):
        if not isinstance(values, Sequence | np.ndarray) or isinstance(values, str) or np.ndim(values) != 1:
            raise TypeError(
                f"{name} must be a sequence of epochs, such as [20, 60], but {_checks.shown(values)} was given."
            )
    rtol = _checks.real("rtol", rtol, above=0, below=1)
    if len(epochs) != 2:
        raise ValueError(f"epochs must hold two, those of the first and second snapshot, but {epochs} was given.")
    start, end = (_checks.real("epochs", epoch, minimum=0) for epoch in epochs)
    later = tuple(_checks.real("at", epoch, above=end) for epoch in at)
    if not start < end or not later or list(later) != sorted(set(later)):
        raise ValueError(
            f"epochs must grow, from the first snapshot to the last forecast, but {epochs}, {at} was given."
        )
    if time_per_epoch is not None:
        time_per_epoch = _checks.real("time_per_epoch", time_per_epoch, above=0)
    problem, before = first.state()
    same, now = second.state()
    if problem != same:
        raise ValueError(
            "both snapshots must be of the same samples and network, but they have class counts, dimensions or a bias "
            "of their own."
        )
    if first.class_names != second.class_names:
        raise ValueError(
            f"both snapshots must be of the same classes, but theirs are {listed(first.class_names)} and "
            f"{listed(second.class_names)}: give both the same labels."
        )
    losses = [float(log_loss(problem, state)) for state in (before, now)]
    if time_per_epoch is None and not losses[1] < losses[0]:
        raise ValueError(
            f"the loss must fall from the first snapshot to the second, but its log goes from {losses[0]:.6g} to "
            f"{losses[1]:.6g}: take later snapshots, or give time_per_epoch."
        )
    mobilities = {PLAIN: (1.0, 1.0), MOBILE: (measured_mobility(before), measured_mobility(now))}
    flows = {}
    for name, (earlier, mobility) in mobilities.items():
        checked, epoch_time = None, time_per_epoch
        if epoch_time is None:
            flow = ModelFlow(name, problem, before, earlier, 0.0)
            curve = _until_loss(flow, losses[1], _tolerance(flow, rtol), progress)
            checked = {key: float(values[-1]) for key, values in curve.metrics.items()}
            epoch_time = float(curve.flow_time[-1]) / (end - start)
        flow = ModelFlow(name, problem, now, mobility, end * epoch_time)
        times = [epoch * epoch_time for epoch in later]
        path = flow.follow(math.inf, times[-1], None, _tolerance(flow, rtol), progress, recorded_at=times)
        curve = flow.curve(path, times[-1])
        flows[name] = _read(curve, mobility, epoch_time, later, checked)
    gained = [float(new.square().sum() - old.square().sum()) for new, old in ((now.H, before.H), (now.W, before.W))]
    return Forecast(
        (start, end),
        later,
        _metrics(problem, before),
        _metrics(problem, now),
        (math.exp(losses[0]) / problem.num_samples, math.exp(losses[1]) / problem.num_samples),
        flows,
        gained[0] / gained[1] if gained[1] > 0 else None,
    )


def off_by(found: float, measured: float) -> float:
    """By what factor ≥ 1 one is off the other; nan if one is not positive."""
    return max(found / measured, measured / found) if found > 0 and measured > 0 else math.nan


def typical_factor(factors: Sequence[float]) -> float:
    """The geometric mean of factors; nan if there are none, or one of them is."""
    return float(np.exp(np.mean(np.log(factors)))) if len(factors) else math.nan


def _tolerance(flow: ModelFlow, rtol: float) -> float:
    """``rtol``, or less where one of W and H is so much smaller than the other that errors of this size drown it."""
    norms = [float(matrix.norm()) for matrix in (flow.start.W, flow.start.H)]
    tightened = rtol * min(norms) / max(norms) * _UNEQUAL if max(norms) > 0 else rtol
    return min(rtol, max(tightened, _TIGHTEST))


def _until_loss(flow: ModelFlow, end: float, rtol: float, progress: bool) -> Curve:
    return flow.curve(flow.follow(end, 0.0, None, rtol, progress))


def _read(
    curve: Curve, mobility: float, epoch_time: float, later: Sequence[float], checked: dict[str, float] | None
) -> FlowForecast:
    readings = [curve.at("flow_time", epoch * epoch_time) for epoch in later]
    loss = np.interp([epoch * epoch_time for epoch in later], curve.flow_time, np.log(curve.train_loss))
    metrics = {key: [reading[key] for reading in readings] for key in COMPARED}
    return FlowForecast(mobility, epoch_time, metrics, np.exp(loss).tolist(), checked, curve)


def _metrics(problem: Problem, state: State) -> dict[str, float]:
    found = neural_collapse(state.W, state.H, problem.labels, state.b)
    return {key: float(found[key]) for key in COMPARED}


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return value if not isinstance(value, float) or math.isfinite(value) else None
