"""At which fraction of a step a milestone lies: Newton's method within a bracket, on the host."""

import dataclasses
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ulpm.flow.clock import Clock, LossInside
from ulpm.flow.milestones import Milestones

__all__ = ["Crossings", "Look"]

# e^−650 of a step is still a normal number, with room for powers of it in the interpolant.
_EARLIEST = -650.0


class Look(NamedTuple):
    """What log L at some θ says: log t there, whether it is the milestone, and the θ to look at next."""

    log_time: Float[Tensor, " S"]
    found: Bool[Tensor, " S"]
    theta: Float[Tensor, " S"]


@dataclasses.dataclass
class Crossings:
    """Milestones ``mark`` inside steps of some replicas, and the brackets [``low``, ``high``] of θ that hold them."""

    milestones: Milestones
    clock: Clock
    replicas: Int[Tensor, " S"]
    mark: Float[Tensor, " S"]
    inside: LossInside
    start_clock: Float[Tensor, " S"]
    tolerance: Float[Tensor, " S"]
    low: Float[Tensor, " S"]
    high: Float[Tensor, " S"]

    def take(self, rows: Int[Tensor, " R"]) -> "Crossings":
        """Some of them."""
        return Crossings(
            self.milestones,
            self.clock,
            self.replicas[rows],
            self.mark[rows],
            self.inside.take(rows),
            self.start_clock[rows],
            self.tolerance[rows],
            self.low[rows],
            self.high[rows],
        )

    def guess(
        self, start: Float[Tensor, " S"], end: Float[Tensor, " S"], end_clock: Float[Tensor, " S"]
    ) -> tuple[Float[Tensor, " S"], Bool[Tensor, " S"]]:
        """θ where a cubic for it as a function of the position, from ``start`` to ``end``, has the mark.

        And which marks are so early in a run from t = 0 that no number holds their θ: the state is the start there.
        """
        inside, length = self.inside, end - start
        x = (self.mark - start) / length
        first = self._speed(self.start_clock, inside.log_loss[0], inside.slope[0])
        last = self._speed(end_clock, inside.log_loss[2], inside.slope[1])
        m0, m1 = (length / (inside.step_size * speed) for speed in (first, last))
        theta = x * (m0 + x * ((3 - 2 * m0 - m1) + x * (m0 + m1 - 2)))
        theta = torch.where((theta >= 0) & (theta <= 1), theta, x)
        at_start = self.start_clock == 0
        if self.milestones.kind != "log_time" or not bool(at_start.any()):
            return theta, torch.zeros_like(at_start)
        # Where the loss has not changed yet, θ is t·L/h.
        log_clock = self.milestones.log_time(self.mark) + self.clock.log_scale(inside.log_loss[0])
        early = torch.exp(log_clock) / inside.step_size
        unchanged = early * inside.step_size * inside.slope[0] < 0.1
        theta = torch.where(at_start & (early <= 1) & unchanged, early, theta)
        return theta, at_start & (log_clock - inside.step_size.log() < _EARLIEST)

    def look(self, theta: Float[Tensor, " S"], log_loss: Float[Tensor, " S"]) -> Look:
        """Look at θ, where log L is ``log_loss``, and close the brackets."""
        clock = self.clock.inside_step(self.start_clock, self.inside, theta)
        log_time = self.clock.log_time(clock, log_loss)
        miss = self.milestones.position(log_time, log_loss, self.replicas) - self.mark
        below = miss < 0
        self.low, self.high = torch.where(below, theta, self.low), torch.where(below, self.high, theta)
        speed = self._speed(clock, log_loss, self.inside.at(theta)[1])
        newton = theta - miss / (self.inside.step_size * speed)
        bracketed = (newton > self.low) & (newton < self.high)
        # Towards 0 by orders of magnitude, since a mark may be at e^(−300) of the first step.
        geometric = (self.low.clamp(min=1e-290) * self.high).sqrt()
        between = torch.where(self.low < 1e-3 * self.high, geometric, (self.low + self.high) / 2)
        found = miss.abs() <= self.tolerance
        return Look(log_time, found, torch.where(found, theta, torch.where(bracketed, newton, between)))

    def _speed(
        self, clock: Float[Tensor, " S"], log_loss: Float[Tensor, " S"], slope: Float[Tensor, " S"]
    ) -> Float[Tensor, " S"]:
        """How fast milestones pass in s."""
        log_time, log_scale = self.clock.log_time(clock, log_loss), self.clock.log_scale(log_loss)
        return self.milestones.speed(log_time, log_loss, log_scale, slope, self.replicas)
