"""Step sizes from local errors: a proportional–integral controller, each replica on its own."""

import dataclasses
import math

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

# What tests/ulpm/flow/test_reported_accuracy.py asks for holds with these.
_RESIDUAL_SHARE, _SMALLEST_RESIDUAL_SHARE = 100.0, 3.0

# The absolute error of a margin in a step that may misclassify is at most this times rtol.
_MARGIN_SHARE = 1e5

__all__ = ["StepSizeController", "error_ratio", "residual_tolerance", "state_tolerance"]


def state_tolerance(size: Float[Tensor, "*any"], log_loss: Float[Tensor, "*any"], rtol: float) -> Float[Tensor, "*any"]:
    """The error of (W, H) that a step may make: rtol·ρ, but at most 10⁵·rtol/ρ while L > 1.

    An error e sets margins off by at most ρe. From a start with ρ² = 10⁷ margins rise by 10⁶ before the last samples
    separate. Which samples are last, and how far apart they are, decides the loss from there on, and a relative error
    of 10⁻⁵ would choose others.
    """
    # In numpy, as below: its small operations take a third of the time of torch's.
    ρ = size.numpy()
    with np.errstate(all="ignore"):
        share = np.where(log_loss.numpy() > 0, np.minimum(_MARGIN_SHARE / np.square(ρ), 1.0), 1.0)
        return torch.from_numpy(rtol * ρ * share)


def residual_tolerance(tangential: Float[Tensor, "*any"], rtol: float) -> Float[Tensor, "*any"]:
    """The relative error of the residual R/L that a step may make: rtol·(3 + 100·``tangential``).

    Late in a run nearly all margins are equal, and the error of (W, H) says little about their differences, which the
    multipliers p and with them the certificate's gap depend on. ``tangential``, the sine of the angle between (W, H)
    and F, is the size of what certificates and KKT residuals measure. Far from a KKT point, as in the passages of a
    large start, a hundred times more does not show in them.
    """
    return torch.from_numpy(rtol * (_SMALLEST_RESIDUAL_SHARE + _RESIDUAL_SHARE * tangential.numpy()))


def error_ratio(
    state_share: Float[Tensor, " B"],
    residual_share: Float[Tensor, " B"],
    clock_error: Float[Tensor, " B"],
    log_time: Float[Tensor, " B"],
    rtol: float,
) -> Float[Tensor, " B"]:
    """The largest local error over its tolerance: of (W, H) and of R/L, as given, or of log t.

    ``clock_error`` is that of T = t·L relative to T, which is an error of log t; rtol·max(1, log t) is its tolerance.
    However late, that stays below √rtol/10, or t·L, which tends to v*/(2 log t), would mean nothing. Whatever is not
    finite becomes inf.
    """
    state, residual, clock, time = (v.numpy() for v in (state_share, residual_share, clock_error, log_time))
    with np.errstate(over="ignore", invalid="ignore"):
        allowed = rtol * np.minimum(np.maximum(time, 1.0), max(1.0, 0.1 / math.sqrt(rtol)))
        ratio = np.maximum(np.maximum(state, residual), clock / allowed)
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

        ``previous_*`` refers to the last accepted step.
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
