"""The loop over steps: every replica has its own step size, accepts, records, ends and fails on its own."""

import dataclasses
import math
from collections.abc import Mapping
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ulpm.flow.clock import Clock, LossClock, LossInside, PlainClock
from ulpm.flow.cohort import Cohort, largest_cohort
from ulpm.flow.controller import StepSizeController, error_ratio, residual_tolerance, state_tolerance
from ulpm.flow.curvature import is_saddle
from ulpm.flow.milestones import Milestones
from ulpm.flow.rosenbrock import RosenbrockKrylov, vectors_of
from ulpm.flow.runge_kutta import ExplicitRungeKutta, Trial, Workspace
from ulpm.flow.solver import Solver
from ulpm.flow.state import COUNTS, FlowState
from ulpm.flow.system import FlowSystem
from ulpm.recorder import Recorder
from ulpm.trajectory import Status

__all__ = ["FlowLoop"]

_LANDING_ATTEMPTS = 60
# Records inside one step are found side by side, as many as fit into this many numbers, beside those of their states
# some 60 that are recorded or on the way to it.
_LANDING_ELEMENTS, _RECORD_ELEMENTS = 2**19, 60
# e^−650 of a step is still a normal number, with room for powers of it in the interpolant.
_EARLIEST = -650.0
# A flow has come to rest when so many steps in a row, while s doubles, say that no more than this share of rtol·ρ is
# left of the way. ρ is taken for 0.01 at least, where logits are below 1e-4: the minimum may be 0.
_STILL_STEPS, _LEFT, _SMALL_NORM = 3, 1e-3, 1e-2
# Iterations beyond those of the last step's solves that are made without asking a device whether they are needed.
_SPARE_ITERATIONS = 2
# Linear solves err by far less than they may.
_NOISE = 0.1


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where replicas are at the end of a step: on the scale of the milestones, and T = t·L."""

    position: Float[Tensor, " A"]
    clock: Float[Tensor, " A"]


class _Found(NamedTuple):
    """What the host is told of a step, of each replica; ``iterations`` are those of each solve of a stiff one."""

    error: Float[Tensor, " A"]
    size: Float[Tensor, " A"]
    speed: Float[Tensor, " A"]
    moved: Float[Tensor, " A"]
    along: Float[Tensor, " A"]
    log_loss: Float[Tensor, " A"]
    middle: Float[Tensor, " A"]
    residual_error: Float[Tensor, " A"]
    stiffness: Float[Tensor, " A"]
    exhausted: Float[Tensor, " A"]
    iterations: Float[Tensor, "solves A"]


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

    It knows how to step; what is stepped is a FlowState.
    """

    def __init__(self, system: FlowSystem, recorder: Recorder, rtol: float, dtype: torch.dtype, solver: Solver) -> None:
        self.system = system
        self.recorder = recorder
        self.rtol = rtol
        self.dtype = dtype
        self.solver = solver
        self.clock: Clock = LossClock() if system.objective.logarithmic else PlainClock()
        device = system.objective.labels.device
        work = Workspace(max(solver.explicit.num_stages, vectors_of(solver.stiff)))
        self.stepper = ExplicitRungeKutta(solver.explicit, dtype, device, work, system.inner)
        self.stiff_stepper = RosenbrockKrylov(solver.stiff, dtype, device, work, system.inner)
        self.controller = StepSizeController(self.stepper.order, *solver.explicit_gains)
        self.stiff_controller = StepSizeController(self.stiff_stepper.order, *solver.stiff_gains)

    def start(
        self, milestones: Milestones, y: Float[Tensor, "B D"], clock: Float[Tensor, " B"], snapshots: int
    ) -> FlowState:
        """All replicas at their start ``y``, where T = t·L is ``clock``, recorded as record 0."""
        system, rate = self.system, torch.empty_like(y)
        # A cohort at a time, which is as much as memory was asked for.
        parts = torch.split(torch.arange(len(y), device="cpu"), self._most(len(y), y.device))
        slices = [slice(int(rows[0]), int(rows[-1]) + 1) for rows in parts]
        losses = [system.rate_and_margin(y[part], rate[part]) for part in slices]
        log_loss = torch.cat([part_loss for part_loss, _ in losses])
        size, speed, log_loss = _to_host(*system.inner.norms(y, rate), log_loss)
        # Cautious; the controller soon finds the right size.
        first = 0.5 * self.rtol ** (1 / self.stepper.order) * size / speed
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
            next_record=torch.ones_like(replicas),
            stiff=torch.zeros_like(replicas, dtype=torch.bool),
            limited_steps=torch.zeros_like(replicas),
            stiffness_floor=torch.zeros_like(size),
            failed=torch.zeros_like(replicas, dtype=torch.bool),
            still_steps=torch.zeros_like(replicas),
            still_since=torch.zeros_like(size),
            way=torch.zeros_like(size),
        )
        records = self.recorder.begin(system.unpack(y), len(milestones.marks), snapshots)
        for rows, part, loss in zip(parts, slices, losses, strict=True):
            known = self._known(clock[rows], *loss)
            records = self.recorder.record(records, torch.zeros_like(rows), rows, system.unpack(y[part]), known)
        codes = torch.full_like(replicas, list(Status).index(Status.RUNNING))
        counts = dict.fromkeys(COUNTS, 0) | {"field_evaluations": len(y)}
        whole = FlowState(cohort, cohort.take(replicas[:0]), y.clone(), codes, milestones, records, counts)
        still, unresolved = speed == 0, ~_resolved(size, y.dtype)
        going = whole.ended({Status.UNRESOLVED: unresolved & ~still, Status.STATIONARY: still})
        return self.refill(dataclasses.replace(going, cohort=whole.waiting, waiting=going.cohort))

    def _most(self, replicas: int, device: torch.device) -> int:
        """How many of the replicas to have under way at once."""
        return largest_cohort(replicas, self.system.numbers, device)

    def cohorts(self, s: FlowState) -> int:
        """How many cohorts the replicas make: they run about one after the other."""
        return -(-len(s.codes) // self._most(len(s.codes), s.final.device))

    def refill(self, s: FlowState) -> FlowState:
        """Let waiting replicas in, once there is room for a good many."""
        most = self._most(len(s.codes), s.final.device)
        if not len(s.waiting.replicas) or len(s.cohort.replicas) > most - most // 8:
            return s
        rows = torch.arange(len(s.waiting.replicas), device="cpu")
        room = most - len(s.cohort.replicas)
        cohort, waiting = s.cohort.join(s.waiting.take(rows[:room])), dataclasses.replace(s.waiting)
        waiting.keep(rows >= room)
        return dataclasses.replace(s, cohort=cohort, waiting=waiting)

    def step(self, s: FlowState) -> FlowState:
        """The state after one attempted step of every running replica, by the method that it is with."""
        if not s.running:
            return s
        c = dataclasses.replace(s.cohort)
        now = dataclasses.replace(s, cohort=c, counts=_plus(s.counts, attempts=1))
        if bool(c.stiff.all()) or not bool(c.stiff.any()):
            now = self._attempt(now, c, bool(c.stiff[0]))
        else:
            # The steps of the parts may use the memory that the state is in.
            c.y = c.y.clone()
            # Both before either: a replica that is handed over takes its next step when all do.
            explicit_rows, stiff_rows = (~c.stiff).nonzero()[:, 0], c.stiff.nonzero()[:, 0]
            for stiff, rows in ((False, explicit_rows), (True, stiff_rows)):
                part = c.take(rows)
                now = self._attempt(now, part, stiff)
                c.put(rows, part)
        return self._after(now)

    def _after(self, s: FlowState) -> FlowState:
        """Take out of the cohort who has ended, and let in who waits."""
        c = s.cohort
        reached = c.next_record == len(s.milestones.marks)
        converged = ~reached & (c.still_steps >= _STILL_STEPS) & (c.way >= 2 * c.still_since)
        if bool(converged.any()):
            converged = self._minima(c, converged)
        if bool(converged.any()):
            s = self._record_rest(s, converged.nonzero()[:, 0])
        failed = c.failed & ~(reached | converged)
        unresolved = ~(reached | converged | failed | _resolved(c.size, c.y.dtype))
        if not bool((reached | converged | failed | unresolved).any()):
            return s
        success = Status.LOG_TIME_REACHED if s.milestones.kind == "log_time" else Status.LOG_LOSS_REACHED
        endings = {success: reached, Status.CONVERGED: converged, Status.STEP_TOO_SMALL: failed}
        return self.refill(s.ended({**endings, Status.UNRESOLVED: unresolved}, reached=success))

    def stop(self, s: FlowState) -> FlowState:
        """End the replicas that still run, for lack of steps."""
        everyone = s.cohort.join(s.waiting)
        rows = torch.arange(len(everyone.replicas), device="cpu")
        s = dataclasses.replace(s, cohort=everyone, waiting=everyone.take(rows[:0]))
        return s.ended({Status.STEP_LIMIT: torch.ones_like(rows, dtype=torch.bool)})

    def _attempt(self, s: FlowState, c: Cohort, stiff: bool) -> FlowState:
        """Attempt one step of the replicas in ``c``, which moves, all with one method."""
        method = self.stiff_stepper if stiff else self.stepper
        controller = self.stiff_controller if stiff else self.controller
        step, found = self._trial(c, stiff)
        if self.system.unasked and bool(found.exhausted.any()):
            # More iterations than the last step needed: the same step again, with as many as it takes.
            self.system.unasked = ()
            step, found = self._trial(c, stiff)
        error, size, speed, moved, along, log_loss, middle, residual_error, stiffness, _, iterations = found
        products = iterations.sum(0)
        settling = self.system.problem.attained
        if not stiff:
            # The Rayleigh quotient of the error: at the limit of stability that is nearly all stiff components.
            stiffness = torch.maximum(stiffness, _quotient(residual_error, error))
        slopes = self.clock.slope(c.speed, c.log_loss), self.clock.slope(speed, log_loss)
        inside = LossInside(c.step_size, (c.log_loss, middle, log_loss), slopes)
        clock, clock_error = self.clock.through_step(c.clock, inside)
        now = self.clock.log_time(clock, log_loss)
        ratio = error_ratio(
            error / state_tolerance(size, c.log_loss, self.rtol),
            residual_error / self._residual_tolerance(size, speed, along),
            clock_error / clock,
            now,
            self.rtol,
        )
        accepted = ratio <= 1
        if stiff and c.y.device.type != "cpu":
            # After a step that was rejected, perhaps since solves failed, the next asks again.
            enough = (found.iterations.amax(1) + _SPARE_ITERATIONS).int().tolist()
            self.system.unasked = enough if bool(accepted.all()) else ()
        counts = _counted(s.counts, accepted, method.evaluations_per_step, products if stiff else None)
        position = s.milestones.position(now, log_loss, c.replicas)
        step_size = c.step_size
        s = dataclasses.replace(s, counts=counts)
        s = self._record_passed(s, c, method, step, inside, accepted, _Place(position, clock))
        c.step_size = controller.next_step_size(step_size, ratio, c.previous_step_size, c.previous_ratio, accepted)
        c.failed = ~accepted & (c.step_size * c.speed < 4 * torch.finfo(c.y.dtype).eps * c.size)
        known = {"size": size, "speed": speed, "log_loss": log_loss, "clock": clock, "position": position}
        known |= {"previous_step_size": step_size, "previous_ratio": ratio}
        left = _steps_left(s.milestones.marks[-1, c.replicas] - position, position - c.position)
        if settling:
            still = self._nearly_there(c, step_size, size, speed, moved, stiffness)
            c.way = torch.where(accepted, c.way + step_size, c.way)
            c.still_steps = torch.where(accepted, torch.where(still, c.still_steps + 1, 0), c.still_steps)
            c.still_since = torch.where(accepted & ~still, c.way, c.still_since)
        c.move(accepted, step.end, step.end_rate, known)
        evaluations = self.stepper.evaluations_per_step, self.stiff_stepper.evaluations_per_step
        self.solver.hand_over(c, accepted, step_size, stiffness, products if stiff else None, evaluations, left)
        return s

    def _trial(self, c: Cohort, stiff: bool) -> tuple[Trial, "_Found"]:
        """A step of the replicas in ``c``, and what is to be known of it, by one transfer from the device.

        It is the one time that a step without records waits for the device.
        """
        # What is recorded can be far smaller than the state: the solves are to be that much better than the step.
        numbers = torch.stack([c.step_size, self.solver.krylov_share * self.rtol * c.size])
        # From ordinary memory, which is copied before the call returns: there is nothing to wait for.
        h, tolerance = numbers.to(c.y.device, c.y.dtype, non_blocking=True)
        rate = self.system.rate_near(c.log_loss, c.step_size * c.speed.square())
        if stiff:
            step = self.stiff_stepper.step(rate, self.system.linearise, c.y, c.rate, h, tolerance)
        else:
            step = self.stepper.step(rate, c.y, c.rate, h)
        at_middle, inner, nobody_reads = self.system.loss(step.middle), self.system.inner, step.stiffness
        solves = () if step.solves is None else (step.solves.exhausted, *step.solves.iterations)
        numbers = _on_host(
            *inner.norms(step.error, step.end, step.end_rate),
            inner.norms(step.end - c.y)[0] if self.system.problem.attained else nobody_reads,
            inner.dot(step.end, step.end_rate),
            step.end_monitor,
            at_middle.log_loss,
            self.system.residual_change(step.middle, step.error, at_middle),
            step.stiffness,
            *(of.to(c.y) for of in solves or (torch.zeros_like(step.stiffness),)),
        )
        return step, _Found._make([*numbers[:10].unbind(), numbers[10:]])

    def _residual_tolerance(
        self, size: Float[Tensor, " A"], speed: Float[Tensor, " A"], along: Float[Tensor, " A"]
    ) -> Float[Tensor, " A"]:
        """That of a step whose end has ⟨F, y⟩ ``along`` it, with what rounding makes of the residual."""
        ρ, v, product = size.numpy(), speed.numpy(), along.numpy()
        with np.errstate(all="ignore"):
            # Where nothing moves any more, nothing is along anything.
            cosine = np.where(v > 0, product / (ρ * v), 0.0)
            tangential = np.sqrt(np.maximum(1 - np.square(cosine), 0))
            # Products of two vectors are rounded to this, and so is the residual.
            rounding = 4 * torch.finfo(self.dtype).eps * np.square(ρ)
        return residual_tolerance(torch.from_numpy(tangential), self.rtol) + torch.from_numpy(rounding)

    def _nearly_there(
        self,
        c: Cohort,
        h: Float[Tensor, " A"],
        size: Float[Tensor, " A"],
        speed: Float[Tensor, " A"],
        moved: Float[Tensor, " A"],
        stiffness: Float[Tensor, " A"],
    ) -> Bool[Tensor, " A"]:
        """Whether what is left of the way to a critical point is below the tolerance, as it looks after a step.

        Near one, speed falls like e^{−rs}, and ∫ speed ds is speed/r. Where speed is no more than the errors of linear
        solves and rounding make, it need not fall, and what the step ``moved`` by is what is left. A slower part may
        hide behind a faster one; so a replica counts as at rest only once s has doubled since this was last denied.
        """
        epsilon = torch.finfo(c.y.dtype).eps
        falling = speed < c.speed
        rate = torch.where(falling & (speed > 0), (c.speed / speed).log() / h, torch.inf)
        left = torch.where(falling, speed / rate, torch.inf)
        noise = (_NOISE * self.solver.krylov_share * self.rtol + 64 * epsilon) * stiffness.nan_to_num(0, 0) * size
        left = torch.where(speed <= noise, torch.minimum(moved, left), left)
        tolerance = max(_LEFT * self.rtol, 64 * epsilon)
        return left <= tolerance * size.clamp(min=_SMALL_NORM)

    def _minima(self, c: Cohort, resting: Bool[Tensor, " A"]) -> Bool[Tensor, " A"]:
        """Which of those that seem to be at rest are at a minimum. For the others s has to double again."""
        rows = resting.nonzero()[:, 0]
        size = c.size[rows].clamp(min=_SMALL_NORM)
        saddle = is_saddle(self.system, c.y[rows.to(c.y.device)], size, c.speed[rows])
        leaving = torch.zeros_like(resting).index_put_((rows,), saddle)
        c.still_steps = torch.where(leaving, 0, c.still_steps)
        c.still_since = torch.where(leaving, c.way, c.still_since)
        return resting & ~leaving

    def _record_rest(self, s: FlowState, rows: Int[Tensor, " S"]) -> FlowState:
        """Record replicas that have come to rest where, and when, they are."""
        c = s.cohort
        y = c.y[rows.to(c.y.device)]
        loss = self.system.loss(y)
        known = self._known(c.clock[rows], loss.log_loss, loss.margin)
        return self._record(s, c.replicas[rows], c.next_record[rows], y, known)

    def _record_passed(
        self,
        s: FlowState,
        c: Cohort,
        method: Method,
        step: Trial,
        inside: LossInside,
        accepted: Bool[Tensor, " A"],
        end: _Place,
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
                    s = self._record_inside(s, c, method, step, inside, rows[part], records[part], end)
        c.next_record = c.next_record + count
        return s

    def _record_inside(
        self,
        s: FlowState,
        c: Cohort,
        method: Method,
        step: Trial,
        inside: LossInside,
        rows: Int[Tensor, " S"],
        records: Int[Tensor, " S"],
        end: _Place,
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
            known = self._known(clock, loss.log_loss, loss.margin)
            s = dataclasses.replace(s, counts=_plus(s.counts, loss_evaluations=len(mark)))
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

    def _known(
        self, clock: Float[Tensor, " S"], log_loss: Float[Tensor, " S"], margin: Float[Tensor, " S"]
    ) -> dict[str, Float[Tensor, " S"]]:
        """What a record says of the loss and the time."""
        log_loss, margin = _to_host(log_loss, margin)
        return {"log_time": self.clock.log_time(clock, log_loss), "log_loss": log_loss, "margin": margin}

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


def _steps_left(way: Float[Tensor, " A"], progress: Float[Tensor, " A"]) -> Float[Tensor, " A"]:
    """How many more steps of this ``progress`` the rest of the ``way`` takes."""
    done = progress.numpy()
    with np.errstate(all="ignore"):
        return torch.from_numpy(np.where(done > 0, way.numpy() / done, np.inf))


def _quotient(above: Float[Tensor, " A"], below: Float[Tensor, " A"]) -> Float[Tensor, " A"]:
    """(above/below)², and 0 where nothing is above."""
    numerator = above.numpy()
    with np.errstate(all="ignore"):
        return torch.from_numpy(np.where(numerator > 0, np.square(numerator / below.numpy()), 0.0))


def _plus(counts: Mapping[str, int], **more: int) -> dict[str, int]:
    """``counts`` with some raised."""
    return {name: count + more.get(name, 0) for name, count in counts.items()}


def _counted(
    counts: Mapping[str, int], accepted: Bool[Tensor, " A"], evaluations: int, products: Float[Tensor, " A"] | None
) -> dict[str, int]:
    """``counts`` with those of an attempted step."""
    good, attempts = int(accepted.sum()), len(accepted)
    return _plus(
        counts,
        steps=good,
        rejected_steps=attempts - good,
        field_evaluations=attempts * evaluations,
        jacobian_products=0 if products is None else int(products.sum()),
        loss_evaluations=attempts if products is None else 2 * attempts,
    )


def _resolved(size: Float[Tensor, " B"], dtype: torch.dtype) -> Bool[Tensor, " B"]:
    """Whether rounding of margins, at most ερ²/2, is small enough for the residual: 10⁻⁴ in float64, ¼ in float32."""
    epsilon = torch.finfo(dtype).eps
    return (size.square() * epsilon).lt(min(0.25, 6700 * math.sqrt(epsilon)))


def _on_host(*vectors: Float[Tensor, " B"]) -> Float[Tensor, "n B"]:
    """Vectors as float64 on the host, by one transfer."""
    return torch.stack(vectors).double().cpu()


def _to_host(*vectors: Float[Tensor, " B"]) -> tuple[Float[Tensor, " B"], ...]:
    """Each of them."""
    return _on_host(*vectors).unbind()
