"""Gradient descent on what a problem minimises: discrete time, recorded like the flow so that both compare."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ulpm import _checks, _memory
from ulpm._modes import plain_arithmetic
from ulpm._threads import suitable_threads
from ulpm.objective import Objective
from ulpm.problem import Problem
from ulpm.recorder import Recorder, Records, describe_run
from ulpm.state import Factors, State
from ulpm.trajectory import Status, Trajectory

__all__ = ["gradient_descent"]


def gradient_descent(
    problem: Problem,
    state: State,
    *,
    learning_rate: float = 0.1,
    momentum: float = 0.0,
    steps: int = 10_000,
    loss_scaled: bool = False,
    records: int = 200,
    snapshots: int = 0,
    config: Mapping[str, Any] | None = None,
) -> Trajectory:
    """Gradient descent with heavy-ball momentum β: V ← βV − η_k ∇Φ(Θ), Θ ← Θ + V, from V = 0 (Polyak, 1964).

    A step advances the flow time of the records by η_k/(1 − β), the time that the flow needs for the same change once
    momentum has built up. Records are at step 0, at the last step, and between at steps spaced evenly in
    log(1 + log(1 + t)) for the constant rate, and evenly in k for the loss-scaled one, whose log log t grows like k.

    Args:
        problem: What is minimised.
        state: Where to start, with or without replicas.
        learning_rate: η_k, or η_k Φ(Θ_k) with ``loss_scaled``.
        momentum: β in [0, 1).
        steps: How many steps to take.
        loss_scaled: Divide the rate by Φ(Θ_k), so that the vanishing gradient does not shorten steps. They are computed
            as multiples of ∇ log L and do not underflow however small the loss is.
        records: How many records to keep, the start and the end included.
        snapshots: How many whole states to keep.
        config: Facts that JSON can hold, to keep with the result.

    Returns:
        A Trajectory, with the step numbers of its records in ``config["record_steps"]``. A replica that diverges, or
        whose logits outgrow what the number format resolves, says so in its status and keeps the records before that.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If a number is out of its range, or with ``loss_scaled`` where Φ may become 0.

    Source: Polyak, "Some methods of speeding up the convergence of iteration methods", 1964; for the loss-scaled rate
    Lyu and Li, "Gradient Descent Maximizes the Margin of Homogeneous Neural Networks", 2020.

    >>> problem = ulpm.Problem([5] * 3, feature_dim=4)
    >>> path = ulpm.gradient_descent(problem, problem.random_state(seed=0), learning_rate=0.1, steps=1000, records=3)
    >>> [f"{value:.2f}" for value in path.log_loss.tolist()]
    ['2.95', '-1.16', '-5.90']
    """
    rate = _checks.real("learning_rate", learning_rate, above=0)
    momentum = _checks.real("momentum", momentum, minimum=0, below=1)
    steps = _checks.integer("steps", steps, minimum=1)
    common = describe_run(problem, state, records, snapshots, config)
    if loss_scaled and problem.attained and problem.smallest_loss == 0 and not problem.decayed:
        raise ValueError(
            f"loss_scaled divides by the loss, which finite logits bring to 0 with {problem.loss.name}: leave it out."
        )
    if steps >= 2**63 or not math.isfinite(steps * rate / (1 - momentum)):
        raise ValueError(
            f"learning_rate times steps must be finite, but {rate:g} times {_checks.shown(steps)} was given."
        )
    rows_at_most, size = min(common["records"], steps + 1), state.W.numel() + state.H.numel()
    numbers = rows_at_most * (8 + 60 * (common["replicas"] or 1)) + size * (10 + snapshots)
    _memory.require(8 * numbers, "a descent of this size")
    rows = _record_steps(steps, min(common["records"], steps + 1), None if loss_scaled else rate / (1 - momentum))
    facts = {
        **common,
        "method": "gradient descent",
        "learning_rate": rate,
        "momentum": momentum,
        "steps": steps,
        "loss_scaled": loss_scaled,
        "records": len(rows),
        "record_steps": rows,
    }
    with plain_arithmetic(state.H.device), suitable_threads(state.H):
        at = state.factors if state.batch_shape else _map(lambda part: part[None], state.factors)
        recorder = Recorder(problem, at.W.device)
        records_made = recorder.begin(at, len(rows), common["snapshots"])
        walk = _Descent(problem, at, rate, momentum, loss_scaled)
        for row, step in enumerate(rows):
            walk.go_to(step)
            records_made = walk.record(recorder, records_made, row)
            if Status.STEPS_TAKEN not in walk.status:
                break
        counts = {"steps": walk.step, "field_evaluations": walk.step * len(at.W), "jacobian_products": 0}
        return recorder.trajectory(records_made, walk.last, walk.status, counts, facts)


def _record_steps(steps: int, records: int, time_per_step: float | None) -> list[int]:
    """Distinct step numbers 0 … ``steps``, even in log(1 + log(1 + t)), or in k if the time per step varies."""
    if time_per_step is None:
        marks = [steps * i / (records - 1) for i in range(records)]
    else:
        end = math.log1p(math.log1p(steps * time_per_step))
        marks = [math.expm1(math.expm1(end * i / (records - 1))) / time_per_step for i in range(records)]
    return sorted({0, steps, *(min(steps, round(mark)) for mark in marks)})


class _Descent:
    """The moving tensors, their last displacements, and log t; and the last state that was fit to be recorded."""

    def __init__(self, problem: Problem, at: Factors, rate: float, momentum: float, loss_scaled: bool) -> None:
        self._objective = Objective(problem, at.W.device)
        self._rate, self._momentum, self._loss_scaled = rate, momentum, loss_scaled
        self._at = _map(torch.clone, at)
        self._steps = _map(torch.zeros_like, at)
        self._log_time = at.W.new_full(at.W.shape[:1], -torch.inf, dtype=torch.float64)
        self.step = 0
        self.last = _map(torch.clone, at)
        self.status = [Status.STEPS_TAKEN] * len(at.W)

    def go_to(self, step: int) -> None:
        """Take steps until ``step``."""
        log_time_per_rate = math.log(self._rate / (1 - self._momentum))
        while self.step < step:
            loss, rates = self._objective(self._at)
            size = self._rate * self._scale(loss.log_loss)
            for part, moved, rate in zip(self._at, self._steps, rates, strict=True):
                if part is not None and moved is not None and rate is not None:
                    moved.mul_(self._momentum).addcmul_(size.view(-1, *[1] * (rate.ndim - 1)), rate)
                    part += moved
            log_advance = log_time_per_rate - loss.log_loss.double() * self._loss_scaled
            self._log_time = torch.logaddexp(self._log_time, log_advance)
            self.step += 1

    def _scale(self, log_loss: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """The gradient, or its ratio to the loss, over what ``Objective`` gives of it."""
        if self._objective.logarithmic:
            return torch.ones_like(log_loss) if self._loss_scaled else torch.exp(log_loss)
        return torch.exp(-log_loss) if self._loss_scaled else torch.ones_like(log_loss)

    def record(self, recorder: Recorder, records: Records, row: int) -> Records:
        """``records`` with the replicas whose numbers still mean something."""
        W, H = self._at.W, self._at.H
        squared_norm = W.square().sum((-2, -1)) + H.square().sum((-2, -1))
        # |Z| ≤ ρ²/2: once that is 1% of 1/ε, softmax weights are off by per cents or more.
        resolved = squared_norm * torch.finfo(W.dtype).eps < 0.02
        for replica, (is_finite, is_resolved) in enumerate(
            zip(torch.isfinite(squared_norm).tolist(), resolved.tolist(), strict=True)
        ):
            if self.status[replica] is Status.STEPS_TAKEN and not is_resolved:
                self.status[replica] = Status.UNRESOLVED if is_finite else Status.NOT_FINITE
        # The start is what was given, and recorded whatever it is worth: a trajectory has at least that.
        good = [replica for replica, status in enumerate(self.status) if status is Status.STEPS_TAKEN or row == 0]
        if not good:
            return records
        rows = torch.tensor(good, dtype=torch.int64, device=W.device)
        at = _map(lambda part: part[rows], self._at)
        loss = self._objective.loss(at)
        known = {"log_time": self._log_time[rows], "log_loss": loss.log_loss, "margin": loss.margin}
        records = recorder.record(records, torch.full_like(rows, row), rows, at, known)
        for last, part in zip(self.last, at, strict=True):
            if last is not None and part is not None:
                last[rows] = part
        return records


def _map(change: Callable[[Tensor], Tensor], at: Factors) -> Factors:
    return Factors(*(None if part is None else change(part) for part in at))  # type: ignore[arg-type]
