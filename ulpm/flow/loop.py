"""The loop over steps: every replica has its own step size, accepts, records, ends and fails on its own."""

import dataclasses

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ulpm.flow.controller import StepSizeController
from ulpm.flow.methods import DORMAND_PRINCE
from ulpm.flow.milestones import Milestones
from ulpm.flow.runge_kutta import ExplicitRungeKutta, Trial
from ulpm.flow.system import FlowSystem
from ulpm.recorder import Recorder
from ulpm.trajectory import Status

__all__ = ["Cohort", "FlowLoop"]

_LANDING_ATTEMPTS = 60
_COUNTS = ("attempts", "steps", "rejected_steps", "field_evaluations", "jacobian_products", "loss_evaluations")


@dataclasses.dataclass
class Cohort:
    """The replicas that still run, one row each: everything that a step changes."""

    replicas: Int[Tensor, " A"]
    y: Float[Tensor, "A D"]
    rate: Float[Tensor, "A D"]
    log_loss: Float[Tensor, " A"]
    position: Float[Tensor, " A"]
    step_size: Float[Tensor, " A"]
    previous_ratio: Float[Tensor, " A"]
    next_record: Int[Tensor, " A"]

    def keep(self, rows: Bool[Tensor, " A"]) -> None:
        """Drop the replicas whose row is False, so that they cost nothing any more."""
        for field in dataclasses.fields(self):
            setattr(self, field.name, getattr(self, field.name)[rows])


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
        self.controller = StepSizeController(self.stepper.order)
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
        )
        loop = cls(system, milestones, recorder, cohort, y.clone(), rtol)
        loop.counts["field_evaluations"] += len(y)
        loop._record(replicas, y)
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
        """Attempt one step of every running replica."""
        c = self.cohort
        trial = self.stepper.step(self.system.rate, c.y, c.rate, c.step_size)
        ratio = self.system.error_ratio(trial.start, trial.end, trial.end_monitor, trial.error, self.rtol)
        accepted = ratio <= 1
        self._count(accepted)
        c.step_size = self.controller.next_step_size(c.step_size, ratio, c.previous_ratio, accepted)
        too_small = ~accepted & (c.step_size * self.system.relative_size(c.y, c.rate) < 4 * torch.finfo(c.y.dtype).eps)
        position = self.milestones.position(self.system, trial.end, trial.end_monitor, c.replicas)
        self._record_passed(trial, accepted, position)
        if bool(accepted.all()):
            c.y, c.rate = trial.end, trial.end_rate
        else:
            c.y = torch.where(accepted[:, None], trial.end, c.y)
            c.rate = torch.where(accepted[:, None], trial.end_rate, c.rate)
        c.log_loss = torch.where(accepted, trial.end_monitor, c.log_loss)
        c.position = torch.where(accepted, position, c.position)
        c.previous_ratio = torch.where(accepted, ratio, c.previous_ratio)
        reached = c.next_record == len(self.milestones.marks)
        if bool((reached | too_small).any()):
            self._end({self._success: reached, Status.STEP_TOO_SMALL: too_small & ~reached})

    def stop(self) -> None:
        """End the replicas that still run, for lack of steps."""
        self._end({Status.STEP_LIMIT: torch.ones_like(self.cohort.replicas, dtype=torch.bool)})

    def _count(self, accepted: Bool[Tensor, " A"]) -> None:
        good = int(accepted.sum())
        self.counts["attempts"] += 1
        self.counts["steps"] += good
        self.counts["rejected_steps"] += len(accepted) - good
        self.counts["field_evaluations"] += len(accepted) * self.stepper.evaluations_per_step

    def _record_passed(self, trial: Trial, accepted: Bool[Tensor, " A"], position: Float[Tensor, " A"]) -> None:
        """Record every milestone inside the step, at the state that the interpolant has there."""
        c, marks = self.cohort, self.milestones.marks
        while True:
            mark = marks[c.next_record.clamp(max=len(marks) - 1), c.replicas]
            rows = (accepted & (c.next_record < len(marks)) & (position >= mark)).nonzero()[:, 0]
            if not len(rows):
                return
            y = self._land(trial, rows, mark[rows], c.position[rows], position[rows])
            self._record(rows, y)

    def _land(
        self,
        trial: Trial,
        rows: Int[Tensor, " S"],
        mark: Float[Tensor, " S"],
        start: Float[Tensor, " S"],
        end: Float[Tensor, " S"],
    ) -> Float[Tensor, "S D"]:
        """The states inside a step at which the position equals ``mark``, by the Illinois variant of regula falsi."""
        low, high = torch.zeros_like(mark), torch.ones_like(mark)
        below, above = start - mark, end - mark
        tolerance = 64 * torch.finfo(trial.end.dtype).eps * mark
        was_below = None
        for _ in range(_LANDING_ATTEMPTS):
            theta = (low - (high - low) * (below / (above - below))).clamp(0, 1)
            y = self.stepper.interpolate(trial, rows, theta.to(trial.end))
            log_loss = self.system.loss(y).log_loss
            self.counts["loss_evaluations"] += len(rows)
            miss = self.milestones.position(self.system, y, log_loss, self.cohort.replicas[rows]) - mark
            if bool((miss.abs() <= tolerance).all()):
                break
            is_below = miss < 0
            low, high = torch.where(is_below, theta, low), torch.where(is_below, high, theta)
            # An end that stays for a second time counts half, or the bracket would shrink from one side only.
            stays = torch.zeros_like(is_below) if was_below is None else is_below == was_below
            kept = torch.where(is_below, above, below) * torch.where(stays, 0.5, 1.0)
            below, above = torch.where(is_below, miss, kept), torch.where(is_below, kept, miss)
            was_below = is_below
        return y

    def _record(self, rows: Int[Tensor, " S"], y: Float[Tensor, "S D"]) -> None:
        c = self.cohort
        replicas = c.replicas[rows]
        loss = self.system.loss(y)
        self.counts["loss_evaluations"] += len(rows)
        W, H, clock = self.system.unpack(y)
        known = {
            "log_time": torch.log(clock.double()) - loss.log_loss.double(),
            "log_loss": loss.log_loss,
            "margin": loss.margin,
        }
        self.recorder.record(c.next_record[rows], replicas, W, H, known)
        c.next_record[rows] += 1
        self.final[replicas] = y

    def _end(self, endings: dict[Status, Bool[Tensor, " A"]]) -> None:
        """Take replicas out of the cohort. One that reached its last milestone is left there, any other where it is."""
        c = self.cohort
        for status, rows in endings.items():
            if status is not self._success:
                self.final[c.replicas[rows]] = c.y[rows]
            for replica in c.replicas[rows].tolist():
                self.status[replica] = status
        c.keep(~torch.stack(list(endings.values())).any(0))
