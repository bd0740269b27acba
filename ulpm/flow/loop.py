"""The loop over steps: every replica has its own step size, accepts, records, ends and fails on its own."""

import dataclasses
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ulpm.flow.clock import Clock, LossClock, LossInside, PlainClock
from ulpm.flow.cohort import Cohort, largest_cohort
from ulpm.flow.controller import StepSizeController, error_ratio, residual_tolerance, state_tolerance
from ulpm.flow.host import counted, on_host, plus, quotient, resolved, steps_left, to_host
from ulpm.flow.landing import Landing, Place
from ulpm.flow.milestones import Milestones
from ulpm.flow.rest import at_rest, minima, nearly_there, note_rest
from ulpm.flow.rosenbrock import RosenbrockKrylov, vectors_of
from ulpm.flow.runge_kutta import ExplicitRungeKutta, Trial, Workspace
from ulpm.flow.solver import Solver
from ulpm.flow.state import COUNTS, FlowState
from ulpm.flow.system import FlowSystem
from ulpm.recorder import Recorder
from ulpm.trajectory import Status

__all__ = ["FlowLoop"]

# Iterations beyond those of the last step's solves that are made without asking a device whether they are needed.
_SPARE_ITERATIONS = 2


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
        self.landing = Landing(system, recorder, self.clock)
        device = system.objective.labels.device
        work = Workspace(max(solver.explicit.num_stages, vectors_of(solver.stiff)))
        self.stepper = ExplicitRungeKutta(solver.explicit, dtype, device, work, system.layout)
        self.stiff_stepper = RosenbrockKrylov(solver.stiff, dtype, device, work)
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
        size, speed, log_loss = to_host(*system.layout.norms(y, rate), log_loss)
        # Cautious; the controller soon finds the right size. A bias leaves the origin on the scale of logits.
        first = 0.5 * self.rtol ** (1 / self.stepper.order) * torch.where(size > 0, size, 1.0) / speed
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
        records = self.recorder.begin(system.layout.unpack(y), len(milestones.marks), snapshots)
        for rows, part, loss in zip(parts, slices, losses, strict=True):
            known = self.landing.known(clock[rows], *loss)
            records = self.recorder.record(records, torch.zeros_like(rows), rows, system.layout.unpack(y[part]), known)
        codes = torch.full_like(replicas, list(Status).index(Status.RUNNING))
        counts = dict.fromkeys(COUNTS, 0) | {"field_evaluations": len(y)}
        whole = FlowState(cohort, cohort.take(replicas[:0]), y.clone(), codes, milestones, records, counts)
        still, unresolved = speed == 0, ~resolved(size, y.dtype)
        going = whole.ended({Status.UNRESOLVED: unresolved & ~still, Status.STATIONARY: still})
        return self.refill(dataclasses.replace(going, cohort=whole.waiting, waiting=going.cohort))

    def _most(self, replicas: int, device: torch.device) -> int:
        """How many of the replicas to have under way at once."""
        return largest_cohort(replicas, self.system.layout.numbers, device)

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
        now = dataclasses.replace(s, cohort=c, counts=plus(s.counts, attempts=1))
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
        reached, settled = c.next_record == len(s.milestones.marks), resolved(c.size, c.y.dtype)
        # After most steps there is nothing to be done, which numpy finds sooner.
        if not (self.system.problem.attained or (reached.numpy() | c.failed.numpy() | ~settled.numpy()).any()):
            return s
        converged = ~reached & at_rest(c)
        if bool(converged.any()):
            converged = minima(self.system, c, converged)
        if bool(converged.any()):
            s = self.landing.record_rest(s, converged.nonzero()[:, 0])
        failed = c.failed & ~(reached | converged)
        unresolved = ~(reached | converged | failed | settled)
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
            stiffness = torch.maximum(stiffness, quotient(residual_error, error))
        slopes = self.clock.slope(c.speed, c.log_loss), self.clock.slope(speed, log_loss)
        inside = LossInside(c.step_size, (c.log_loss, middle, log_loss), slopes)
        clock, clock_error = self.clock.through_step(c.clock, inside)
        now = self.clock.log_time(clock, log_loss)
        ratio = error_ratio(
            error / state_tolerance(size, c.log_loss, self.rtol),
            residual_error / _residual_tolerance(size, speed, along, self.rtol, self.dtype),
            clock_error / clock,
            now,
            self.rtol,
        )
        accepted = ratio <= 1
        if stiff and c.y.device.type != "cpu":
            # After a step that was rejected, perhaps since solves failed, the next asks again.
            enough = (found.iterations.amax(1) + _SPARE_ITERATIONS).int().tolist()
            self.system.unasked = enough if bool(accepted.all()) else ()
        counts = counted(s.counts, accepted, method.evaluations_per_step, products if stiff else None)
        position = s.milestones.position(now, log_loss, c.replicas)
        step_size = c.step_size
        s = dataclasses.replace(s, counts=counts)
        s = self.landing.record_passed(s, c, method, step, inside, accepted, Place(position, clock))
        c.step_size = controller.next_step_size(step_size, ratio, c.previous_step_size, c.previous_ratio, accepted)
        c.failed = ~accepted & (c.step_size * c.speed < 4 * torch.finfo(c.y.dtype).eps * c.size)
        known = {"size": size, "speed": speed, "log_loss": log_loss, "clock": clock, "position": position}
        known |= {"previous_step_size": step_size, "previous_ratio": ratio}
        left = steps_left(c.position, position, s.milestones.marks[-1, c.replicas])
        if settling:
            still = nearly_there(c, step_size, size, speed, moved, stiffness, self.rtol, self.solver.krylov_share)
            note_rest(c, accepted, still, step_size)
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
        at_middle, layout, nobody_reads = self.system.loss(step.middle), self.system.layout, step.stiffness
        solves = () if step.solves is None else (step.solves.exhausted, *step.solves.iterations)
        numbers = on_host(
            *layout.norms(step.error, step.end, step.end_rate),
            layout.norms(step.end - c.y)[0] if self.system.problem.attained else nobody_reads,
            layout.dot(step.end, step.end_rate),
            step.end_monitor,
            at_middle.log_loss,
            self.system.residual_change(step.middle, step.error, at_middle),
            step.stiffness,
            *(of.to(c.y) for of in solves or (torch.zeros_like(step.stiffness),)),
        )
        return step, _Found._make([*numbers[:10].unbind(), numbers[10:]])


def _residual_tolerance(
    size: Float[Tensor, " A"], speed: Float[Tensor, " A"], along: Float[Tensor, " A"], rtol: float, dtype: torch.dtype
) -> Float[Tensor, " A"]:
    """That of a step whose end has ⟨F, y⟩ ``along`` it, with what rounding makes of the residual."""
    ρ, v, product = size.numpy(), speed.numpy(), along.numpy()
    with np.errstate(all="ignore"):
        # Where nothing moves any more, nothing is along anything.
        cosine = np.where(v > 0, product / (ρ * v), 0.0)
        tangential = np.sqrt(np.maximum(1 - np.square(cosine), 0))
        # Products of two vectors are rounded to this, and so is the residual.
        rounding = 4 * torch.finfo(dtype).eps * np.square(ρ)
    return residual_tolerance(torch.from_numpy(tangential), rtol) + torch.from_numpy(rounding)
