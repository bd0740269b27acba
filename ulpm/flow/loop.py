"""The loop over steps: every replica has its own step size, accepts, records, ends and fails on its own."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ulpm.flow.cohort import Cohort
from ulpm.flow.controller import StepSizeController
from ulpm.flow.handover import HandOver
from ulpm.flow.methods import DORMAND_PRINCE, RODAS4
from ulpm.flow.milestones import Milestones
from ulpm.flow.rosenbrock import RosenbrockKrylov
from ulpm.flow.runge_kutta import ExplicitRungeKutta, Trial
from ulpm.flow.system import FlowSystem
from ulpm.recorder import Recorder
from ulpm.trajectory import Status

__all__ = ["FlowLoop"]

_LANDING_ATTEMPTS = 60
# Records inside one step are found side by side, as many as fit into this many numbers.
_LANDING_ELEMENTS = 2**21
# Error of a linear solve as a share of rtol·ρ. nc1_pinv at log t = 2e6 is 1e-20, a relative deviation of 1e-10, and is
# right to 0.1% with it, to 4% with 1e-3; a decade costs about an iteration a stage.
_KRYLOV_SHARE = 1e-5
_COUNTS = ("attempts", "steps", "rejected_steps", "field_evaluations", "jacobian_products", "loss_evaluations")


@runtime_checkable
class Method(Protocol):
    """What the loop needs of a stepper besides its steps."""

    order: int
    evaluations_per_step: int

    def interpolate(self, trial: Trial, rows: Tensor, theta: Tensor) -> Tensor:
        """States inside a step."""
        ...


class FlowLoop:
    """Steps a cohort until each replica has reached its last milestone, has failed, or ``max_steps`` attempts are over.

    ``status`` [B], ``final`` [B, D] and ``counts`` hold what there is to say about ended replicas and the whole run.
    """

    def __init__(
        self,
        system: FlowSystem,
        milestones: Milestones,
        recorder: Recorder,
        cohort: Cohort,
        final: Float[Tensor, "B D"],
        rtol: float,
    ) -> None:
        self.system = system
        self.milestones = milestones
        self.recorder = recorder
        self.cohort = cohort
        self.final = final
        self.rtol = rtol
        self.stepper = ExplicitRungeKutta(DORMAND_PRINCE, final.dtype, final.device)
        self.stiff_stepper = RosenbrockKrylov(RODAS4, final.dtype, final.device)
        self.controller = StepSizeController(self.stepper.order)
        self.stiff_controller = StepSizeController(self.stiff_stepper.order)
        self.hand_over = HandOver(self.stepper.evaluations_per_step, self.stiff_stepper.evaluations_per_step)
        self.status = [Status.RUNNING] * len(final)
        self.counts = dict.fromkeys(_COUNTS, 0)
        self._success = Status.LOG_TIME_REACHED if milestones.kind == "log_time" else Status.LOG_LOSS_REACHED

    @classmethod
    def from_start(
        cls, system: FlowSystem, milestones: Milestones, recorder: Recorder, y: Float[Tensor, "B D"], rtol: float
    ) -> "FlowLoop":
        """A loop whose replicas all stand at their start ``y``, recorded as record 0."""
        replicas = torch.arange(len(y), device=y.device)
        rate, log_loss = system.rate(y)
        cohort = Cohort(
            replicas=replicas,
            y=y,
            rate=rate,
            log_loss=log_loss,
            position=torch.zeros_like(log_loss, dtype=torch.float64),
            step_size=system.first_step_size(y, rate, rtol, DORMAND_PRINCE.order),
            previous_ratio=torch.ones_like(log_loss),
            next_record=torch.zeros_like(replicas),
            stiff=torch.zeros_like(replicas, dtype=torch.bool),
            limited_steps=torch.zeros_like(replicas),
            stiffness_floor=torch.zeros_like(log_loss),
            failed=torch.zeros_like(replicas, dtype=torch.bool),
        )
        loop = cls(system, milestones, recorder, cohort, y.clone(), rtol)
        loop.counts["field_evaluations"] += len(y)
        loop._record(replicas, cohort.next_record, y)
        cohort.next_record += 1
        still = system.relative_size(y, rate) == 0
        if bool(still.any()):
            loop._end({Status.STATIONARY: still})
        return loop

    @property
    def running(self) -> bool:
        """Whether any replica is still on its way."""
        return len(self.cohort.replicas) > 0

    @property
    def fraction_done(self) -> float:
        """The share of the way to its last milestone that the replica furthest behind has gone."""
        c = self.cohort
        return float((c.position / self.milestones.marks[-1, c.replicas]).min()) if self.running else 1.0

    def advance(self) -> None:
        """Attempt one step of every running replica, by the method that it is with."""
        self.counts["attempts"] += 1
        c = self.cohort
        for stiff in (False, True):
            rows = (c.stiff == stiff).nonzero()[:, 0]
            if len(rows) == len(c.replicas):
                self._attempt(c, stiff)
            elif len(rows):
                part = c.take(rows)
                self._attempt(part, stiff)
                c.put(rows, part)
        reached = c.next_record == len(self.milestones.marks)
        if bool((reached | c.failed).any()):
            self._end({self._success: reached, Status.STEP_TOO_SMALL: c.failed & ~reached})

    def _attempt(self, c: Cohort, stiff: bool) -> None:
        """Attempt one step of the replicas in ``c``, all with one method."""
        if stiff:
            # What is recorded can be far smaller than the state: the solves are to be that much better than the step.
            tolerance = _KRYLOV_SHARE * self.rtol * self.system.size(c.y)
            step = self.stiff_stepper.step(self.system.rate, self.system.linearise, c.y, c.rate, c.step_size, tolerance)
            self.system.time_stiff_step(step, c.rate, c.log_loss)
        else:
            step = self.stepper.step(self.system.rate, c.y, c.rate, c.step_size)
        method = self.stiff_stepper if stiff else self.stepper
        controller = self.stiff_controller if stiff else self.controller
        ratio = self.system.error_ratio(step.start, step.end, step.end_monitor, step.error, self.rtol)
        accepted = ratio <= 1
        self._count(accepted, method.evaluations_per_step, step)
        c.step_size = controller.next_step_size(c.step_size, ratio, c.previous_ratio, accepted)
        relative_step = c.step_size * self.system.relative_size(c.y, c.rate)
        c.failed = ~accepted & (relative_step < 4 * torch.finfo(c.y.dtype).eps)
        position = self.milestones.position(self.system, step.end, step.end_monitor, c.replicas)
        self._record_passed(c, method, step, accepted, position)
        if bool(accepted.all()):
            c.y, c.rate = step.end, step.end_rate
        else:
            c.y = torch.where(accepted[:, None], step.end, c.y)
            c.rate = torch.where(accepted[:, None], step.end_rate, c.rate)
        c.log_loss = torch.where(accepted, step.end_monitor, c.log_loss)
        c.position = torch.where(accepted, position, c.position)
        c.previous_ratio = torch.where(accepted, ratio, c.previous_ratio)
        self.hand_over(c, step, accepted)

    def stop(self) -> None:
        """End the replicas that still run, for lack of steps."""
        self._end({Status.STEP_LIMIT: torch.ones_like(self.cohort.replicas, dtype=torch.bool)})

    def _count(self, accepted: Bool[Tensor, " A"], evaluations: int, step: Trial) -> None:
        good = int(accepted.sum())
        self.counts["steps"] += good
        self.counts["rejected_steps"] += len(accepted) - good
        self.counts["field_evaluations"] += len(accepted) * evaluations
        if step.products is not None:
            self.counts["jacobian_products"] += int(step.products.sum())
            self.counts["loss_evaluations"] += len(accepted)

    def _record_passed(
        self, c: Cohort, method: Method, step: Trial, accepted: Bool[Tensor, " A"], position: Float[Tensor, " A"]
    ) -> None:
        """Record every milestone inside the step, at the state that the interpolant has there."""
        marks = self.milestones.marks
        last = len(marks) - 1
        passed = (marks[:, c.replicas] <= position).sum(0)
        count = torch.where(accepted, passed - c.next_record, 0).clamp(min=0)
        rows = torch.repeat_interleave(torch.arange(len(count), device=count.device), count)
        if not len(rows):
            return
        nth = torch.arange(len(rows), device=rows.device) - (count.cumsum(0) - count)[rows]
        records = c.next_record[rows] + nth
        # The end on its own, so that no bit of it depends on how many records came before.
        for group in ((records < last).nonzero()[:, 0], (records == last).nonzero()[:, 0]):
            for part in torch.split(group, max(1, _LANDING_ELEMENTS // c.y.shape[1])):
                self._record_inside(c, method, step, rows[part], records[part], position)
        c.next_record = c.next_record + count

    def _record_inside(
        self,
        c: Cohort,
        method: Method,
        step: Trial,
        rows: Int[Tensor, " S"],
        records: Int[Tensor, " S"],
        position: Float[Tensor, " A"],
    ) -> None:
        """Record some milestones inside the step: ``records`` of the replicas ``rows``."""
        if not len(rows):
            return

        def states(theta: Float[Tensor, " S"]) -> Float[Tensor, "S D"]:
            y = method.interpolate(step, rows, theta.to(step.end))
            if step.products is not None:
                y[:, -1] = self.system.clock_inside_stiff_step(step, rows, theta, c.rate[rows], c.log_loss[rows])
            return y

        replicas = c.replicas[rows]
        mark = self.milestones.marks[records, replicas]
        self._record(replicas, records, self._land(states, replicas, mark, c.position[rows], position[rows]))

    def _land(
        self,
        states: Callable[[Tensor], Tensor],
        replicas: Int[Tensor, " S"],
        mark: Float[Tensor, " S"],
        start: Float[Tensor, " S"],
        end: Float[Tensor, " S"],
    ) -> Float[Tensor, "S D"]:
        """The states inside a step at which the position equals ``mark``, by the Illinois variant of regula falsi.

        ``states`` maps fractions of the step to states; ``start`` and ``end`` are the positions at 0 and 1.
        """
        low, high = torch.zeros_like(mark), torch.ones_like(mark)
        below, above = start - mark, end - mark
        tolerance = 64 * torch.finfo(self.final.dtype).eps * mark
        was_below = None
        theta, done = low, torch.zeros_like(mark, dtype=torch.bool)
        for _ in range(_LANDING_ATTEMPTS):
            theta = torch.where(done, theta, (low - (high - low) * (below / (above - below))).clamp(0, 1))
            y = states(theta)
            log_loss = self.system.loss(y).log_loss
            self.counts["loss_evaluations"] += len(mark)
            miss = self.milestones.position(self.system, y, log_loss, replicas) - mark
            # Where the interpolated clock is not positive, there is no time yet.
            miss = torch.where(miss.isnan(), -mark, miss)
            done |= miss.abs() <= tolerance
            if bool(done.all()):
                break
            is_below = miss < 0
            low, high = torch.where(is_below, theta, low), torch.where(is_below, high, theta)
            # An end that stays for a second time counts half, or the bracket would shrink from one side only.
            stays = torch.zeros_like(is_below) if was_below is None else is_below == was_below
            kept = torch.where(is_below, above, below) * torch.where(stays, 0.5, 1.0)
            below, above = torch.where(is_below, miss, kept), torch.where(is_below, kept, miss)
            was_below = is_below
        return y

    def _record(self, replicas: Int[Tensor, " S"], records: Int[Tensor, " S"], y: Float[Tensor, "S D"]) -> None:
        loss = self.system.loss(y)
        self.counts["loss_evaluations"] += len(records)
        W, H, clock = self.system.unpack(y)
        known = {
            "log_time": torch.log(clock.double()) - loss.log_loss.double(),
            "log_loss": loss.log_loss,
            "margin": loss.margin,
        }
        self.recorder.record(records, replicas, W, H, known)
        ends = records == len(self.milestones.marks) - 1
        self.final[replicas[ends]] = y[ends]

    def _end(self, endings: dict[Status, Bool[Tensor, " A"]]) -> None:
        """Take replicas out of the cohort. One that reached its last milestone is left there, any other where it is."""
        c = self.cohort
        for status, rows in endings.items():
            if status is not self._success:
                self.final[c.replicas[rows]] = c.y[rows]
            for replica in c.replicas[rows].tolist():
                self.status[replica] = status
        c.keep(~torch.stack(list(endings.values())).any(0))
