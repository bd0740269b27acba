"""The loop over steps: every replica has its own step size, accepts, records, ends and fails on its own."""

import dataclasses
import math
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ulpm.flow.clock import LossInside, clock_inside_step, clock_through_step, log_time
from ulpm.flow.cohort import Cohort, largest_cohort
from ulpm.flow.controller import StepSizeController, error_ratio, residual_tolerance, state_tolerance
from ulpm.flow.handover import HandOver
from ulpm.flow.methods import RODAS4, TSITOURAS
from ulpm.flow.milestones import Milestones
from ulpm.flow.rosenbrock import RosenbrockKrylov, vectors_of
from ulpm.flow.runge_kutta import ExplicitRungeKutta, Trial, Workspace
from ulpm.flow.system import FlowSystem
from ulpm.recorder import Recorder
from ulpm.trajectory import Status

__all__ = ["FlowLoop"]

_LANDING_ATTEMPTS = 60
# Records inside one step are found side by side, as many as fit into this many numbers, beside those of their states
# some 60 that are recorded or on the way to it.
_LANDING_ELEMENTS, _RECORD_ELEMENTS = 2**19, 60
# Error of a linear solve as a share of rtol·ρ. nc1_pinv at log t = 2e6 is 1e-20, a relative deviation of 1e-10, and is
# right to 0.1% with it, to 4% with 1e-3; a decade costs about an iteration a stage.
_KRYLOV_SHARE = 1e-5
# e^−650 of a step is still a normal number, with room for powers of it in the interpolant.
_EARLIEST = -650.0
_COUNTS = ("attempts", "steps", "rejected_steps", "field_evaluations", "jacobian_products", "loss_evaluations")


@dataclasses.dataclass(frozen=True)
class _Place:
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


class FlowLoop:
    """Steps replicas, a cohort at a time, until each has reached its last milestone or has failed, or is stopped.

    ``status`` [B], ``final`` [B, D] and ``counts`` hold what there is to say about ended replicas and the whole run.
    """

    def __init__(
        self,
        system: FlowSystem,
        milestones: Milestones,
        recorder: Recorder,
        cohort: Cohort,
        waiting: Cohort,
        final: Float[Tensor, "B D"],
        rtol: float,
    ) -> None:
        self.system = system
        self.milestones = milestones
        self.recorder = recorder
        self.cohort = cohort
        self.waiting = waiting
        self.final = final
        self.rtol = rtol
        work = Workspace(max(TSITOURAS.num_stages, vectors_of(RODAS4)))
        self.stepper = ExplicitRungeKutta(TSITOURAS, final.dtype, final.device, work, system.inner)
        self.stiff_stepper = RosenbrockKrylov(RODAS4, final.dtype, final.device, work, system.inner)
        self.controller = StepSizeController(self.stepper.order, integral=0.3, proportional=0.4)
        self.stiff_controller = StepSizeController(self.stiff_stepper.order, integral=1.0, proportional=0.0)
        self.hand_over = HandOver(self.stepper.evaluations_per_step, self.stiff_stepper.evaluations_per_step)
        self.status = [Status.RUNNING] * len(final)
        self.counts = dict.fromkeys(_COUNTS, 0)
        self._success = Status.LOG_TIME_REACHED if milestones.kind == "log_time" else Status.LOG_LOSS_REACHED

    @classmethod
    def from_start(
        cls,
        system: FlowSystem,
        milestones: Milestones,
        recorder: Recorder,
        y: Float[Tensor, "B D"],
        rtol: float,
        clock: Float[Tensor, " B"],
    ) -> "FlowLoop":
        """A loop whose replicas all stand at their start ``y``, where T = t·L is ``clock``, recorded as record 0."""
        rate = torch.empty_like(y)
        # A cohort at a time, which is as much as memory was asked for.
        parts = torch.split(torch.arange(len(y), device="cpu"), largest_cohort(len(y), system.numbers, y.device))
        slices = [slice(int(rows[0]), int(rows[-1]) + 1) for rows in parts]
        losses = [system.rate_and_margin(y[part], rate[part]) for part in slices]
        log_loss = torch.cat([part_loss for part_loss, _ in losses])
        size, speed, log_loss = _to_host(*system.inner.norms(y, rate), log_loss)
        # Cautious; the controller soon finds the right size.
        first = 0.5 * rtol ** (1 / TSITOURAS.order) * size / speed
        replicas = torch.arange(len(y), device="cpu")
        cohort = Cohort(
            replicas=replicas,
            y=y,
            rate=rate,
            size=size,
            speed=speed,
            log_loss=log_loss,
            clock=clock.clone(),
            position=milestones.marks[0].clone(),
            step_size=first,
            previous_step_size=first,
            previous_ratio=torch.ones_like(size),
            next_record=torch.zeros_like(replicas),
            stiff=torch.zeros_like(replicas, dtype=torch.bool),
            limited_steps=torch.zeros_like(replicas),
            stiffness_floor=torch.zeros_like(size),
            failed=torch.zeros_like(replicas, dtype=torch.bool),
        )
        nobody = cohort.take(replicas[:0])
        loop = cls(system, milestones, recorder, nobody, cohort, y.clone(), rtol)
        loop.counts["field_evaluations"] += len(y)
        for rows, part, loss in zip(parts, slices, losses, strict=True):
            loop._record(rows, cohort.next_record[rows], y[part], _known(cohort.clock[rows], *loss))
        cohort.next_record += 1
        unresolved = ~_resolved(size, y.dtype)
        for replica in replicas[unresolved].tolist():
            loop.status[replica] = Status.UNRESOLVED
        for replica in replicas[speed == 0].tolist():
            loop.status[replica] = Status.STATIONARY
        cohort.keep((speed > 0) & ~unresolved)
        loop.refill()
        return loop

    @property
    def cohorts(self) -> int:
        """How many cohorts the replicas make: they run about one after the other."""
        return -(-len(self.status) // largest_cohort(len(self.final), self.system.numbers, self.final.device))

    @property
    def running(self) -> bool:
        """Whether any replica is still on its way."""
        return len(self.cohort.replicas) > 0

    @property
    def fraction_done(self) -> float:
        """The share of its way to the last milestone that a replica has gone, on average."""
        c, marks = self.cohort, self.milestones.marks
        first, last = marks[0, c.replicas], marks[-1, c.replicas]
        gone = ((c.position - first) / (last - first)).sum()
        return 1 - (len(c.replicas) + len(self.waiting.replicas) - float(gone)) / len(self.status)

    def refill(self) -> None:
        """Let waiting replicas in, once there is room for a good many."""
        c, waiting = self.cohort, self.waiting
        most = largest_cohort(len(self.final), self.system.numbers, self.final.device)
        if not len(waiting.replicas) or len(c.replicas) > most - most // 8:
            return
        rows = torch.arange(len(waiting.replicas), device="cpu")
        room = most - len(c.replicas)
        self.cohort = c.join(waiting.take(rows[:room]))
        waiting.keep(rows >= room)

    def advance(self) -> None:
        """Attempt one step of every running replica, by the method that it is with."""
        c = self.cohort
        if not self.running:
            return
        self.counts["attempts"] += 1
        if bool(c.stiff.all()) or not bool(c.stiff.any()):
            self._attempt(c, bool(c.stiff[0]))
        else:
            # The steps of the parts may use the memory that the state is in.
            c.y = c.y.clone()
            # Both before either: a replica that is handed over takes its next step when all do.
            explicit_rows, stiff_rows = (~c.stiff).nonzero()[:, 0], c.stiff.nonzero()[:, 0]
            for stiff, rows in ((False, explicit_rows), (True, stiff_rows)):
                part = c.take(rows)
                self._attempt(part, stiff)
                c.put(rows, part)
        reached = c.next_record == len(self.milestones.marks)
        unresolved = ~(reached | c.failed | _resolved(c.size, c.y.dtype))
        if bool((reached | c.failed | unresolved).any()):
            failed = c.failed & ~reached
            self._end({self._success: reached, Status.STEP_TOO_SMALL: failed, Status.UNRESOLVED: unresolved})
            self.refill()

    def _attempt(self, c: Cohort, stiff: bool) -> None:
        """Attempt one step of the replicas in ``c``, all with one method."""
        method = self.stiff_stepper if stiff else self.stepper
        controller = self.stiff_controller if stiff else self.controller
        h = c.step_size.to(c.y)
        rate = self.system.rate_near(c.log_loss, c.step_size * c.speed.square())
        if stiff:
            # What is recorded can be far smaller than the state: the solves are to be that much better than the step.
            tolerance = (_KRYLOV_SHARE * self.rtol * c.size).to(c.y)
            step = self.stiff_stepper.step(rate, self.system.linearise, c.y, c.rate, h, tolerance)
        else:
            step = self.stepper.step(rate, c.y, c.rate, h)
        at_middle = self.system.loss(step.middle)
        # The one time that a step without records waits for the device.
        error, size, speed, along, log_loss, middle, residual_error, stiffness, products = _to_host(
            *self.system.inner.norms(step.error, step.end, step.end_rate),
            self.system.inner.dot(step.end, step.end_rate),
            step.end_monitor,
            at_middle.log_loss,
            self.system.residual_change(step.middle, step.error, at_middle),
            step.stiffness,
            torch.zeros_like(step.stiffness) if step.products is None else step.products.to(step.stiffness),
        )
        if not stiff:
            # The Rayleigh quotient of the error: at the limit of stability that is nearly all stiff components.
            quotient = torch.where(residual_error > 0, (residual_error / error).square(), 0.0)
            stiffness = torch.maximum(stiffness, quotient)
        inside = LossInside(c.step_size, (c.log_loss, middle, log_loss), (c.speed.square(), speed.square()))
        clock, clock_error = clock_through_step(c.clock, inside)
        tangential = (1 - (along / (size * speed)).square()).clamp(min=0).sqrt()
        # Products of two vectors are rounded to this, and so is the residual.
        rounding = 4 * torch.finfo(c.y.dtype).eps * size.square()
        ratio = error_ratio(
            error / state_tolerance(size, c.log_loss, self.rtol),
            residual_error / (residual_tolerance(tangential, self.rtol) + rounding),
            clock_error / clock,
            log_time(clock, log_loss),
            self.rtol,
        )
        accepted = ratio <= 1
        self._count(accepted, method.evaluations_per_step, products if stiff else None)
        position = self.milestones.position(clock, log_loss, c.replicas)
        step_size = c.step_size
        self._record_passed(c, method, step, inside, accepted, _Place(position, clock))
        c.step_size = controller.next_step_size(step_size, ratio, c.previous_step_size, c.previous_ratio, accepted)
        c.failed = ~accepted & (c.step_size * c.speed < 4 * torch.finfo(c.y.dtype).eps * c.size)
        known = {"size": size, "speed": speed, "log_loss": log_loss, "clock": clock, "position": position}
        known |= {"previous_step_size": step_size, "previous_ratio": ratio}
        c.move(accepted, step.end, step.end_rate, known)
        self.hand_over(c, accepted, step_size, stiffness, products if stiff else None)

    def stop(self) -> None:
        """End the replicas that still run, for lack of steps."""
        self.cohort = self.cohort.join(self.waiting)
        self._end({Status.STEP_LIMIT: torch.ones_like(self.cohort.replicas, dtype=torch.bool)})

    def _count(self, accepted: Bool[Tensor, " A"], evaluations: int, products: Float[Tensor, " A"] | None) -> None:
        good = int(accepted.sum())
        self.counts["steps"] += good
        self.counts["rejected_steps"] += len(accepted) - good
        self.counts["field_evaluations"] += len(accepted) * evaluations
        self.counts["loss_evaluations"] += len(accepted)
        if products is not None:
            self.counts["jacobian_products"] += int(products.sum())
            self.counts["loss_evaluations"] += len(accepted)

    def _record_passed(
        self, c: Cohort, method: Method, step: Trial, inside: LossInside, accepted: Bool[Tensor, " A"], end: _Place
    ) -> None:
        """Record every milestone inside the step, at the state that the interpolant has there."""
        marks = self.milestones.marks
        last = len(marks) - 1
        if not bool((accepted & (marks[c.next_record, c.replicas] <= end.position)).any()):
            return
        passed = (marks[:, c.replicas] <= end.position).sum(0)
        count = torch.where(accepted, passed - c.next_record, 0).clamp(min=0)
        rows = torch.repeat_interleave(torch.arange(len(count), device="cpu"), count)
        nth = torch.arange(len(rows), device="cpu") - (count.cumsum(0) - count)[rows]
        records = c.next_record[rows] + nth
        # The end on its own, so that no bit of it depends on how many records came before.
        for group in ((records < last).nonzero()[:, 0], (records == last).nonzero()[:, 0]):
            for part in torch.split(group, max(1, _LANDING_ELEMENTS // (self.system.numbers + _RECORD_ELEMENTS))):
                if len(part):
                    self._record_inside(c, method, step, inside, rows[part], records[part], end)
        c.next_record = c.next_record + count

    def _record_inside(
        self,
        c: Cohort,
        method: Method,
        step: Trial,
        inside: LossInside,
        rows: Int[Tensor, " S"],
        records: Int[Tensor, " S"],
        end: _Place,
    ) -> None:
        """Record some milestones inside the step, ``records`` of ``rows``: where the position equals their mark.

        By Newton's method for the fraction θ of the step, within a bracket, from the θ at which a cubic for θ as a
        function of the position has the mark.
        """
        replicas, inside, where = c.replicas[rows], inside.take(rows), rows.to(c.y.device)
        mark, start_clock = self.milestones.marks[records, replicas], c.clock[rows]
        first = self.milestones.speed(start_clock, inside.log_loss[0], inside.squared_gradient[0], replicas)
        last = self.milestones.speed(end.clock[rows], inside.log_loss[2], inside.squared_gradient[1], replicas)
        length = end.position[rows] - c.position[rows]
        x = (mark - c.position[rows]) / length
        m0, m1 = (length / (inside.step_size * speed) for speed in (first, last))
        theta = x * (m0 + x * ((3 - 2 * m0 - m1) + x * (m0 + m1 - 2)))
        theta = torch.where((theta >= 0) & (theta <= 1), theta, x)
        theta, at_start = self._first_moments(theta, inside, mark, start_clock)
        low, high = torch.zeros_like(mark), torch.ones_like(mark)
        tolerance = 64 * torch.finfo(c.y.dtype).eps * mark
        done = at_start.clone()
        for _ in range(_LANDING_ATTEMPTS):
            y = method.interpolate(step, theta.to(c.y), where)
            clock = clock_inside_step(start_clock, inside, theta)
            loss = self.system.loss(y)
            known = _known(clock, loss.log_loss, loss.margin)
            self.counts["loss_evaluations"] += len(mark)
            log_loss = known["log_loss"]
            miss = self.milestones.position(clock, log_loss, replicas) - mark
            done |= miss.abs() <= tolerance
            if bool(done.all()):
                break
            low, high = torch.where(miss < 0, theta, low), torch.where(miss < 0, high, theta)
            speed = self.milestones.speed(clock, log_loss, torch.lerp(*inside.squared_gradient, theta), replicas)
            newton = theta - miss / (inside.step_size * speed)
            bracketed = (newton > low) & (newton < high)
            # Towards 0 by orders of magnitude, since a mark may be at e^(−300) of the first step.
            between = torch.where(low < 1e-3 * high, (low.clamp(min=1e-290) * high).sqrt(), (low + high) / 2)
            theta = torch.where(done, theta, torch.where(bracketed, newton, between))
        if bool(at_start.any()):
            known["log_time"] = torch.where(at_start, self.milestones.log_time(mark), known["log_time"])
        self._record(replicas, records, y, known)

    def _first_moments(
        self,
        theta: Float[Tensor, " S"],
        inside: LossInside,
        mark: Float[Tensor, " S"],
        start_clock: Float[Tensor, " S"],
    ) -> tuple[Float[Tensor, " S"], Bool[Tensor, " S"]]:
        """``theta``, but t·L/h where the mark is so early that the loss has not changed yet. And where even that number
        is too small to be one, so that the state is the start, bit for bit.
        """
        at_start = start_clock == 0
        if self.milestones.kind != "log_time" or not bool(at_start.any()):
            return theta, torch.zeros_like(at_start)
        log_clock = self.milestones.log_time(mark) + inside.log_loss[0]
        early = torch.exp(log_clock) / inside.step_size
        unchanged = early * inside.step_size * inside.squared_gradient[0] < 0.1
        theta = torch.where(at_start & (early <= 1) & unchanged, early, theta)
        return theta, at_start & (log_clock - inside.step_size.log() < _EARLIEST)

    def _record(
        self,
        replicas: Int[Tensor, " S"],
        records: Int[Tensor, " S"],
        y: Float[Tensor, "S D"],
        known: dict[str, Float[Tensor, " S"]],
    ) -> None:
        self.recorder.record(records, replicas, *self.system.unpack(y), known)
        ends = records == len(self.milestones.marks) - 1
        if bool(ends.any()):
            self.final[replicas[ends].to(y.device)] = y[ends.to(y.device)]

    def _end(self, endings: dict[Status, Bool[Tensor, " A"]]) -> None:
        """Take replicas out of the cohort. One that reached its last milestone is left there, any other where it is."""
        c = self.cohort
        for status, rows in endings.items():
            if status is not self._success and bool(rows.any()):
                self.final[c.replicas[rows].to(c.y.device)] = c.y[rows.to(c.y.device)]
            for replica in c.replicas[rows].tolist():
                self.status[replica] = status
        c.keep(~torch.stack(list(endings.values())).any(0))


def _resolved(size: Float[Tensor, " B"], dtype: torch.dtype) -> Bool[Tensor, " B"]:
    """Whether rounding of margins, at most ερ²/2, is small enough for the residual: 10⁻⁴ in float64, ¼ in float32."""
    epsilon = torch.finfo(dtype).eps
    return (size.square() * epsilon).lt(min(0.25, 6700 * math.sqrt(epsilon)))


def _known(
    clock: Float[Tensor, " S"], log_loss: Float[Tensor, " S"], margin: Float[Tensor, " S"]
) -> dict[str, Float[Tensor, " S"]]:
    """What a record says of the loss, from T = t·L."""
    log_loss, margin = _to_host(log_loss, margin)
    return {"log_time": log_time(clock, log_loss), "log_loss": log_loss, "margin": margin}


def _to_host(*vectors: Float[Tensor, " B"]) -> tuple[Float[Tensor, " B"], ...]:
    """Vectors as float64 on the host, by one transfer."""
    return torch.stack(vectors).double().cpu().unbind()
