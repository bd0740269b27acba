"""Where a run records and where it ends: marks on a scale that grows along the flow, of time or of loss."""

import dataclasses
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ulpm.flow.clock import elapsed, log_time_at
from ulpm.logdomain import softplus

__all__ = ["Milestones"]


@dataclasses.dataclass(frozen=True)
class Milestones:
    """The record marks of every replica, evenly spaced from the start to the end of the run.

    ``kind`` says what is prescribed: "log_time" spaces records evenly in log(1 + log(1 + t)); "log_loss" in
    log(1 + log L(0) − log L), which at late time is nearly the same, since log L ≈ −log t − log log t.
    ``marks`` [R, B] and ``start_log_loss`` [B], in float64 on the host, which decides about steps.
    """

    kind: Literal["log_time", "log_loss"]
    marks: Float[Tensor, "R B"]
    start_log_loss: Float[Tensor, " B"]

    @classmethod
    def until(
        cls,
        kind: Literal["log_time", "log_loss"],
        end: float,
        records: int,
        start_log_loss: Float[Tensor, " B"],
        start_log_time: Float[Tensor, " B"] | None = None,
        save_at: Float[Tensor, " R"] | None = None,
    ) -> "Milestones":
        """``records`` marks up to log time or log loss ``end``, of time from ``start_log_time`` on (t = 0 if None).

        Between the first and the last they are at the log times ``save_at`` if these are given.

        Raises: ValueError if the end is not below the loss, or above the time, of every start, or if ``save_at`` does
        not lie after these.
        """
        highest = float(start_log_loss.min())
        if kind == "log_loss" and not end < highest:
            raise ValueError(f"log_loss must lie below that of the start, {highest:.6g}, but {end:g} was given.")
        start = start_log_loss.double().cpu()
        first = torch.zeros_like(start)
        if kind == "log_time" and start_log_time is not None:
            latest = float(start_log_time.max())
            if not end > latest:
                raise ValueError(
                    f"the end must lie after the start, log t = {latest:.6g}, but log t = {end:g} is given."
                )
            first = elapsed(start_log_time)
        last = elapsed(start.new_full(start.shape, end)) if kind == "log_time" else torch.log1p(start - end)
        fractions = torch.linspace(0, 1, records, dtype=last.dtype, device=last.device)
        marks = first + fractions[:, None] * (last - first)
        if save_at is not None:
            marks[1:-1] = elapsed(save_at)[:, None]
            if len(save_at) and not bool((marks[1] > first).all()):
                raise ValueError(f"save_at must lie after the start, but {float(save_at[0]):g} was given.")
        marks[-1] = last
        return cls(kind, marks, start)

    def position(
        self, log_time: Float[Tensor, " S"], log_loss: Float[Tensor, " S"], replicas: Int[Tensor, " S"]
    ) -> Float[Tensor, " S"]:
        """Where replicas with these log t and log L are on the scale of the marks."""
        if self.kind == "log_time":
            return elapsed(log_time)
        return torch.log1p((self.start_log_loss[replicas] - log_loss).clamp(min=0))

    def log_time(self, marks: Float[Tensor, " S"]) -> Float[Tensor, " S"]:
        """log t at marks of a log time, the inverse of log(1 + log(1 + t))."""
        return log_time_at(marks)

    def speed(
        self,
        log_time: Float[Tensor, " S"],
        log_loss: Float[Tensor, " S"],
        log_scale: Float[Tensor, " S"],
        slope: Float[Tensor, " S"],
        replicas: Int[Tensor, " S"],
    ) -> Float[Tensor, " S"]:
        """d position/ds there, from log ds/dt, the ``log_scale`` of time, and the ``slope`` −d log L/ds."""
        if self.kind == "log_time":
            log_one_plus_t = softplus(log_time)
            # d log(1 + t)/ds = 1/(L (1 + t)) for ds = L dt, which is finite at t = 0 as well.
            return torch.exp(-log_scale - log_one_plus_t) / (1 + log_one_plus_t)
        return slope / (1 + self.start_log_loss[replicas] - log_loss)
