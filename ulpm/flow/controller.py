"""Step sizes from local errors: a proportional–integral controller, each replica on its own."""

import dataclasses
import math

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

_LARGEST_LOSS_ERROR = 1e-5

__all__ = ["StepSizeController", "error_ratio"]


def error_ratio(
    state_error: Float[Tensor, " B"],
    clock_error: Float[Tensor, " B"],
    loss_error: Float[Tensor, " B"],
    log_time: Float[Tensor, " B"],
    rtol: float,
) -> Float[Tensor, " B"]:
    """The local error over the tolerance: that of (W, H) relative to ρ, or of log t relative to max(1, log t).

    ``clock_error`` is that of T = t·L relative to T, which is an error of log t. However late, it stays below √rtol/10,
    or t·L, which tends to v*/(2 log t), would mean nothing. ``loss_error`` is the second-order change of log L by the
    error of (W, H) and stays below rtol, and below 1e-5: late in a run nearly all margins are equal, and at log t =
    10^5 an error of 10⁻⁴ρ sets them apart by 10, so that what is recorded would be the error. Whatever is not finite
    becomes inf.
    """
    # In numpy, as below: its small operations take a third of the time of torch's.
    state, clock, loss, time = (values.numpy() for values in (state_error, clock_error, loss_error, log_time))
    with np.errstate(over="ignore", invalid="ignore"):
        allowed = rtol * np.minimum(np.maximum(time, 1.0), max(1.0, 0.1 / math.sqrt(rtol)))
        # The change of log L is quadratic in the error; its root is of the order that the step size is chosen by.
        ratio = np.maximum(np.maximum(state / rtol, clock / allowed), np.sqrt(loss / min(rtol, _LARGEST_LOSS_ERROR)))
    return torch.from_numpy(np.where(np.isfinite(ratio), ratio, np.inf))


@dataclasses.dataclass(frozen=True)
class StepSizeController:
    """The smaller of what two rules propose after an accepted step, r = local error / tolerance, p = order:

        proportional–integral    h ← h · safety · r^(−(i + j)/p) · r_previous^(j/p)
        predictive               h ← h · safety · (h/h_previous) · r^(−2/p) · r_previous^(1/p)

    The proportional term j damps the see-saw of step sizes where stability, not accuracy, limits an explicit method, at
    the price that small errors lengthen steps slowly: i = 0.3 and j = 0.4 for those. An L-stable method can do with
    i = 1 and j = 0. The prediction, that the error per h^p goes on growing as it did, saves rejected steps where the
    flow gets faster. After a rejected step, h ← h · safety · r^(−1/p). Sources: Gustafsson, "Control theoretic
    techniques for stepsize selection in explicit Runge–Kutta methods", 1991, and "Control-theoretic techniques for
    stepsize selection in implicit Runge–Kutta methods", 1994; i and j from Hairer and Wanner, "Solving Ordinary
    Differential Equations II", 1996, section IV.2.
    """

    order: int
    integral: float
    proportional: float
    safety: float = 0.9
    smallest_factor: float = 0.2
    largest_factor: float = 5.0

    def next_step_size(
        self,
        step_size: Float[Tensor, " B"],
        error_ratio: Float[Tensor, " B"],
        previous_step_size: Float[Tensor, " B"],
        previous_ratio: Float[Tensor, " B"],
        accepted: Bool[Tensor, " B"],
    ) -> Float[Tensor, " B"]:
        """The size of the next attempt: a shorter one after a rejected step (ratio above 1; inf if not finite).

        What is previous is the accepted step before this one.
        """
        # The floors keep a vanishing error from asking for an infinite step and from poisoning the next one. That of
        # the proportional term is high: it is for errors near the tolerance, and would slow down the first steps.
        h, h_before, ratio, ratio_before = (
            values.numpy() for values in (step_size, previous_step_size, error_ratio, previous_ratio)
        )
        r, before = np.maximum(ratio, 1e-10), np.maximum(ratio_before, 1e-4)
        p = self.order
        damping = np.maximum(ratio_before, 0.1) ** (self.proportional / p)
        steady = r ** (-(self.integral + self.proportional) / p) * damping
        predicted = h / h_before * r ** (-2 / p) * before ** (1 / p)
        proposal = np.where(accepted.numpy(), np.minimum(steady, predicted), r ** (-1 / p))
        factor = np.minimum(np.maximum(self.safety * proposal, self.smallest_factor), self.largest_factor)
        return torch.from_numpy(h * factor)
