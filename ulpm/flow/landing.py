"""Records inside a step: at the states that the interpolant of the step has where the marks are."""

import dataclasses
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ulpm._blocks import SMALL, parts
from ulpm.flow.clock import Clock, LossInside
from ulpm.flow.cohort import Cohort
from ulpm.flow.crossing import Crossings
from ulpm.flow.host import plus, to_host
from ulpm.flow.runge_kutta import Trial
from ulpm.flow.state import FlowState
from ulpm.flow.system import FlowSystem
from ulpm.losses import LossAt
from ulpm.recorder import Recorder

__all__ = ["Landing", "Method", "Place", "landed_at_once"]

_LANDING_ATTEMPTS = 60
# Each doubles the digits of a guess that has some three; the model has about six.
_MODEL_ITERATIONS = 2
# Records inside one step are found side by side, as many as fit into this many numbers, beside those of their states
# some 60 that are recorded or on the way to it.
_LANDING_ELEMENTS, _RECORD_ELEMENTS = 2**19, 60
# Of larger states a few, if they are no more than these numbers: a pass over the stages of a step makes all of them.
_FEW, _LANDING_ROOM = 4, 2**23


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


def landed_at_once(numbers: int) -> int:
    """How many states of so many ``numbers`` inside one step are found side by side, at most."""
    return max(_LANDING_ELEMENTS // (numbers + _RECORD_ELEMENTS), min(_FEW, _LANDING_ROOM // numbers), 1)


class Landing:
    """Finds the states at which a step passes marks, and those in which replicas rest, and records them."""

    def __init__(self, system: FlowSystem, recorder: Recorder, clock: Clock) -> None:
        self.system = system
        self.recorder = recorder
        self.clock = clock
        self._room: Tensor | None = None

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
        most = landed_at_once(self.system.layout.numbers)
        nth = torch.arange(len(rows), device="cpu") - (count.cumsum(0) - count)[rows]
        records = c.next_record[rows] + nth
        # The end on its own, so that no bit of it depends on how many records came before.
        for group in ((records < last).nonzero()[:, 0], (records == last).nonzero()[:, 0]):
            for part in torch.split(group, most):
                if len(part):
                    s = self._inside(s, c, method, step, inside, rows[part], records[part], end)
        c.next_record = c.next_record + count
        return s

    def record_rest(self, s: FlowState, rows: Int[Tensor, " S"]) -> FlowState:
        """Record replicas that have come to rest where, and when, they are."""
        c = s.cohort
        y = c.y[rows.to(c.y.device)]
        products, loss = self.system.products_and_loss(y)
        known = self.known(c.clock[rows], loss.log_loss, loss.margin)
        return self._record(s, c.replicas[rows], c.next_record[rows], y, known, products, loss)

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

        By Newton's method for the fraction θ of the step, first with the quartic of the clock in the place of log L,
        which takes no state: from there one correction is enough, as a rule.
        """
        replicas, inside, where = c.replicas[rows], inside.take(rows), rows.to(c.y.device)
        mark = s.milestones.marks[records, replicas]
        whole = torch.zeros_like(mark), torch.ones_like(mark)
        tolerance = 64 * torch.finfo(c.y.dtype).eps * mark
        crossings = Crossings(s.milestones, self.clock, replicas, mark, inside, c.clock[rows], tolerance, *whole)
        theta, at_start = crossings.guess(c.position[rows], end.position[rows], end.clock[rows])
        model, early = crossings.take(torch.arange(len(rows), device="cpu")), theta
        for _ in range(_MODEL_ITERATIONS):
            theta = model.look(theta, inside.at(theta)[0]).theta
        theta = torch.where(at_start, early, theta)
        for attempt in range(1, _LANDING_ATTEMPTS + 1):
            y = self._states(method, step, theta.to(step.start), where)
            products, loss = self.system.products_and_loss(y)
            s = dataclasses.replace(s, counts=plus(s.counts, loss_evaluations=len(theta)))
            log_loss, margin = to_host(loss.log_loss, loss.margin)
            seen = crossings.look(theta, log_loss)
            there = seen.found | at_start | (attempt == _LANDING_ATTEMPTS)
            log_time = torch.where(at_start, s.milestones.log_time(crossings.mark), seen.log_time)
            known = {"log_time": log_time, "log_loss": log_loss, "margin": margin}
            if bool(there.all()):
                return self._record(s, crossings.replicas, records, y, known, products, loss)
            done, left = there.nonzero()[:, 0], (~there).nonzero()[:, 0]
            if len(done):
                known = {name: value[done] for name, value in known.items()}
                s = self._record(s, crossings.replicas[done], records[done], y[done.to(y.device)], known)
            crossings, theta = crossings.take(left), seen.theta[left]
            where, records, at_start = where[left.to(where.device)], records[left], at_start[left]
        raise AssertionError("the last attempt records whatever is left")

    def _states(
        self, method: Method, step: Trial, theta: Float[Tensor, " S"], rows: Int[Tensor, " S"]
    ) -> Float[Tensor, "S D"]:
        """States inside the step, which are valid until the next ones are asked for."""
        D = step.start.shape[1]
        if step.start.device.type != "cpu" or D <= SMALL:
            return method.interpolate(step, theta, rows)
        # A part of the vectors at a time, which stays in a cache for all states, and into memory that is kept.
        if self._room is None or self._room.numel() < len(rows) * D or self._room.dtype != theta.dtype:
            self._room = step.start.new_empty(len(rows) * D)
        states = self._room[: len(rows) * D].view(len(rows), D)
        for part in parts(D, SMALL):
            vectors = {name: getattr(step, name)[..., part] for name in ("start", "middle", "end", "end_rate", "error")}
            of_part = dataclasses.replace(step, stages=step.stages[..., part], **vectors)
            states[:, part] = method.interpolate(of_part, theta, rows)
        return states

    def _record(
        self,
        s: FlowState,
        replicas: Int[Tensor, " S"],
        rows: Int[Tensor, " S"],
        y: Float[Tensor, "S D"],
        known: dict[str, Float[Tensor, " S"]],
        products: Float[Tensor, "S K n"] | None = None,
        loss: LossAt | None = None,
    ) -> FlowState:
        records = s.records
        # One large state at a time stays in a cache, and so does what is made of it.
        step = 1 if y.device.type == "cpu" and y.shape[1] > SMALL else len(rows)
        for part in parts(len(rows), step):
            at, own = self.system.layout.unpack(y[part]), {name: value[part] for name, value in known.items()}
            of_logits = (None, None) if products is None or loss is None else (products[part], _some(loss, part))
            records = self.recorder.record(records, rows[part], replicas[part], at, own, *of_logits)
        ends = rows == len(s.milestones.marks) - 1
        if bool(ends.any()):
            s.final[replicas[ends].to(y.device)] = y[ends.to(y.device)]
        return dataclasses.replace(s, records=records)


def _some(loss: LossAt, part: slice) -> LossAt:
    """The loss at some of several states."""
    memory = None if loss.memory is None else loss.memory[part]
    return LossAt(loss.log_loss[part], loss.residual[part], loss.largest_gaps[part], loss.log_scale[part], memory)
