"""Step sizes from local errors: a proportional–integral controller, each replica on its own."""

import dataclasses

import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["StepSizeController"]


@dataclasses.dataclass(frozen=True)
class StepSizeController:
    """h ← h · safety · r^(−0.7/p) · r_previous^(0.4/p), r = local error / tolerance, p = order of the method.

    The integral term damps the see-saw of step sizes where stability, not accuracy, limits an explicit method
    (Gustafsson, "Control theoretic techniques for stepsize selection in explicit Runge–Kutta methods", 1991; exponents
    from Hairer and Wanner, "Solving Ordinary Differential Equations II", 1996, section IV.2).
    """

    order: int
    safety: float = 0.9
    smallest_factor: float = 0.2
    largest_factor: float = 5.0

    def next_step_size(
        self,
        step_size: Float[Tensor, " B"],
        error_ratio: Float[Tensor, " B"],
        previous_ratio: Float[Tensor, " B"],
        accepted: Bool[Tensor, " B"],
    ) -> Float[Tensor, " B"]:
        """The size of the next attempt: a shorter one after a rejected step (ratio above 1; inf if not finite)."""
        # The floor keeps a vanishing error from asking for an infinite step and from poisoning the next ratio.
        ratio = error_ratio.clamp(min=1e-10)
        proposal = self.safety * ratio ** (-0.7 / self.order) * previous_ratio.clamp(min=1e-4) ** (0.4 / self.order)
        retry = self.safety * ratio ** (-1 / self.order)
        factor = torch.where(accepted, proposal, retry).clamp(self.smallest_factor, self.largest_factor)
        return step_size * factor
