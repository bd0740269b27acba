"""Records inside a step: at the states that the interpolant of the step has where the marks are."""

import dataclasses
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ulpm.flow.clock import Clock, LossInside
from ulpm.flow.cohort import Cohort
from ulpm.flow.host import plus, to_host
from ulpm.flow.milestones import Milestones
from ulpm.flow.runge_kutta import Trial
from ulpm.flow.state import FlowState
from ulpm.flow.system import FlowSystem
from ulpm.recorder import Recorder

__all__ = ["Landing", "Method", "Place"]

_LANDING_ATTEMPTS = 60
# Records inside one step are found side by side, as many as fit into this many numbers, beside those of their states
# some 60 that are recorded or on the way to it.
_LANDING_ELEMENTS, _RECORD_ELEMENTS = 2**19, 60
# e^−650 of a step is still a normal number, with room for powers of it in the interpolant.
_EARLIEST = -650.0


@dataclasses.dataclass(frozen=True)
class Place:
    """Where replicas are at the end of a step: on the scale of the milestones, and T = t·L."""

    position: Float[Tensor, " A"]
    clock: Float[Tensor, " A"]


@runtime_checkable
class Method(Protocol):
    """What the loop needs of a stepper besides its steps."""

    order: int
    evaluations_per_step: int

    def interpolate(self, trial: Trial, theta: Tensor, rows: Tensor) -> Tensor:
        """States inside a step."""
        ...


class Landing:
    """Finds the states at which a step passes marks, and those in which replicas rest, and records them."""

    def __init__(self, system: FlowSystem, recorder: Recorder, clock: Clock) -> None:
        self.system = system
        self.recorder = recorder
        self.clock = clock

    def record_passed(
        self,
        s: FlowState,
        c: Cohort,
        method: Method,
        step: Trial,
        inside: LossInside,
        accepted: Bool[Tensor, " A"],
        end: Place,
    ) -> FlowState:
        """Record every milestone inside the step, at the state that the interpolant has there."""
        marks = s.milestones.marks
        last = len(marks) - 1
        if not bool((accepted & (marks[c.next_record, c.replicas] <= end.position)).any()):
            return s
        passed = (marks[:, c.replicas] <= end.position).sum(0)
        count = torch.where(accepted, passed - c.next_record, 0).clamp(min=0)
        rows = torch.repeat_interleave(torch.arange(len(count), device="cpu"), count)
        nth = torch.arange(len(rows), device="cpu") - (count.cumsum(0) - count)[rows]
        records = c.next_record[rows] + nth
        # The end on its own, so that no bit of it depends on how many records came before.
        for group in ((records < last).nonzero()[:, 0], (records == last).nonzero()[:, 0]):
            for part in torch.split(group, max(1, _LANDING_ELEMENTS // (self.system.numbers + _RECORD_ELEMENTS))):
                if len(part):
                    s = self._inside(s, c, method, step, inside, rows[part], records[part], end)
        c.next_record = c.next_record + count
        return s

    def record_rest(self, s: FlowState, rows: Int[Tensor, " S"]) -> FlowState:
        """Record replicas that have come to rest where, and when, they are."""
        c = s.cohort
        y = c.y[rows.to(c.y.device)]
        loss = self.system.loss(y)
        known = self.known(c.clock[rows], loss.log_loss, loss.margin)
        return self._record(s, c.replicas[rows], c.next_record[rows], y, known)

    def known(
        self, clock: Float[Tensor, " S"], log_loss: Float[Tensor, " S"], margin: Float[Tensor, " S"]
    ) -> dict[str, Float[Tensor, " S"]]:
        """What a record says of the loss and the time."""
        log_loss, margin = to_host(log_loss, margin)
        return {"log_time": self.clock.log_time(clock, log_loss), "log_loss": log_loss, "margin": margin}

    def _inside(
        self,
        s: FlowState,
        c: Cohort,
        method: Method,
        step: Trial,
        inside: LossInside,
        rows: Int[Tensor, " S"],
        records: Int[Tensor, " S"],
        end: Place,
    ) -> FlowState:
        """Record some milestones inside the step, ``records`` of ``rows``: where the position equals their mark.

        By Newton's method for the fraction θ of the step, within a bracket, from the θ at which a cubic for θ as a
        function of the position has the mark.
        """
        replicas, inside, where = c.replicas[rows], inside.take(rows), rows.to(c.y.device)
        milestones = s.milestones
        mark, start_clock = milestones.marks[records, replicas], c.clock[rows]
        first = self._speed(milestones, start_clock, inside.log_loss[0], inside.slope[0], replicas)
        last = self._speed(milestones, end.clock[rows], inside.log_loss[2], inside.slope[1], replicas)
        length = end.position[rows] - c.position[rows]
        x = (mark - c.position[rows]) / length
        m0, m1 = (length / (inside.step_size * speed) for speed in (first, last))
        theta = x * (m0 + x * ((3 - 2 * m0 - m1) + x * (m0 + m1 - 2)))
        theta = torch.where((theta >= 0) & (theta <= 1), theta, x)
        theta, at_start = self._first_moments(milestones, theta, inside, mark, start_clock)
        low, high = torch.zeros_like(mark), torch.ones_like(mark)
        tolerance = 64 * torch.finfo(c.y.dtype).eps * mark
        done = at_start.clone()
        for _ in range(_LANDING_ATTEMPTS):
            y = method.interpolate(step, theta.to(c.y), where)
            clock = self.clock.inside_step(start_clock, inside, theta)
            loss = self.system.loss(y)
            known = self.known(clock, loss.log_loss, loss.margin)
            s = dataclasses.replace(s, counts=plus(s.counts, loss_evaluations=len(mark)))
            log_loss = known["log_loss"]
            miss = milestones.position(known["log_time"], log_loss, replicas) - mark
            done |= miss.abs() <= tolerance
            if bool(done.all()):
                break
            low, high = torch.where(miss < 0, theta, low), torch.where(miss < 0, high, theta)
            speed = self._speed(milestones, clock, log_loss, torch.lerp(*inside.slope, theta), replicas)
            newton = theta - miss / (inside.step_size * speed)
            bracketed = (newton > low) & (newton < high)
            # Towards 0 by orders of magnitude, since a mark may be at e^(−300) of the first step.
            between = torch.where(low < 1e-3 * high, (low.clamp(min=1e-290) * high).sqrt(), (low + high) / 2)
            theta = torch.where(done, theta, torch.where(bracketed, newton, between))
        if bool(at_start.any()):
            known["log_time"] = torch.where(at_start, milestones.log_time(mark), known["log_time"])
        return self._record(s, replicas, records, y, known)

    def _first_moments(
        self,
        milestones: Milestones,
        theta: Float[Tensor, " S"],
        inside: LossInside,
        mark: Float[Tensor, " S"],
        start_clock: Float[Tensor, " S"],
    ) -> tuple[Float[Tensor, " S"], Bool[Tensor, " S"]]:
        """``theta``, but t·L/h where the mark is so early that the loss has not changed yet. And where even that number
        is too small to be one, so that the state is the start, bit for bit.
        """
        at_start = start_clock == 0
        if milestones.kind != "log_time" or not bool(at_start.any()):
            return theta, torch.zeros_like(at_start)
        log_clock = milestones.log_time(mark) + self.clock.log_scale(inside.log_loss[0])
        early = torch.exp(log_clock) / inside.step_size
        unchanged = early * inside.step_size * inside.slope[0] < 0.1
        theta = torch.where(at_start & (early <= 1) & unchanged, early, theta)
        return theta, at_start & (log_clock - inside.step_size.log() < _EARLIEST)

    def _speed(
        self,
        milestones: Milestones,
        clock: Float[Tensor, " S"],
        log_loss: Float[Tensor, " S"],
        slope: Float[Tensor, " S"],
        replicas: Int[Tensor, " S"],
    ) -> Float[Tensor, " S"]:
        """How fast milestones pass in s."""
        log_time, log_scale = self.clock.log_time(clock, log_loss), self.clock.log_scale(log_loss)
        return milestones.speed(log_time, log_loss, log_scale, slope, replicas)

    def _record(
        self,
        s: FlowState,
        replicas: Int[Tensor, " S"],
        rows: Int[Tensor, " S"],
        y: Float[Tensor, "S D"],
        known: dict[str, Float[Tensor, " S"]],
    ) -> FlowState:
        records = self.recorder.record(s.records, rows, replicas, self.system.unpack(y), known)
        ends = rows == len(s.milestones.marks) - 1
        if bool(ends.any()):
            s.final[replicas[ends].to(y.device)] = y[ends.to(y.device)]
        return dataclasses.replace(s, records=records)
