"""Time, which overflows every float, carried as the clock T = t·L; and the scales on which records are even.

In rescaled time ds = L dt the loss obeys d log L/ds = −‖∇ log L‖² =: −g², so that

    dT/ds = 1 − T g²,    log t = log T − log L.

T stays of the order of 1/log t however late it is. It is integrated as one more component of the state, under the same
error control: a component whose quasi-steady value 1/g² is a fixed point of every Runge–Kutta method.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ulpm.logdomain import softplus

# e^{−60} is below any rounding error; 48 points integrate e^{−60x} on [0, 1] to round-off.
_LAYERS = 60.0
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(48)
_GAUSS = ((_NODES + 1) / 2, _WEIGHTS / 2)

__all__ = ["clock_rate", "clock_through_stiff_step", "elapsed", "log_time"]


def clock_rate(clock: Float[Tensor, " B"], squared_gradient: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    """dT/ds = 1 − T g² with g² = ‖∇ log L‖²."""
    return 1 - clock * squared_gradient


def clock_through_stiff_step(
    clock: Float[Tensor, " B"],
    step_size: Float[Tensor, " B"],
    log_loss: tuple[Float[Tensor, " B"], Float[Tensor, " B"]],
    squared_gradient: tuple[Float[Tensor, " B"], Float[Tensor, " B"]],
    theta: Float[Tensor, " B"] | float = 1.0,
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """T at the fraction ``theta`` of a step that may be far longer than 1/g², and an estimate of its error.

        T(s) = T(0) e^{log L(s) − log L(0)} + ∫_0^s e^{log L(s) − log L(r)} dr

    is exact. log L(r) is the cubic through its values and its slopes −g² at both ends of the step, which makes the
    layer of width 1/g² before s, where the integrand lives, right to third order. The estimate is the change when the
    slope at the start is left out, times the relative variation of g² over the step. Pairs hold the values at the start
    and the end of the step, in float64.
    """
    low = torch.minimum(*squared_gradient).clamp(min=1e-300)
    reach = torch.minimum(theta * step_size, _LAYERS / low)[:, None]
    nodes, weights = (torch.tensor(values, dtype=torch.float64, device=clock.device) for values in _GAUSS)
    times = theta * step_size
    inside = (times[:, None] - reach * nodes) / step_size[:, None]
    fraction = (times / step_size)[:, None]

    def through(slope_at_start: Tensor) -> Tensor:
        rise = log_loss[1] - log_loss[0]
        m0, m1 = slope_at_start * step_size, -squared_gradient[1] * step_size

        def change(x: Tensor) -> Tensor:
            """log L at the fraction x less log L at the start."""
            a, b = (m0 + m1 - 2 * rise)[:, None], (3 * rise - 2 * m0 - m1)[:, None]
            return ((a * x + b) * x + m0[:, None]) * x

        here = change(fraction)
        integral = (torch.exp((here - change(inside)).clamp(-700, 0)) @ weights) * reach[:, 0]
        return clock * torch.exp(here[:, 0].clamp(-700, 0)) + integral

    best = through(-squared_gradient[0])
    # The parabola with the end's value and slope: its slope at the start is what those imply.
    rough = through(2 * (log_loss[1] - log_loss[0]) / step_size + squared_gradient[1])
    # The change is what the parabola lacks; the cubic lacks the next order, smaller by the variation of g² in the step.
    variation = torch.log(squared_gradient[1] / squared_gradient[0]).abs().clamp(max=1)
    return best, (best - rough).abs() * variation


def log_time(clock: Float[Tensor, "*any"], log_loss: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """log t = log T − log L; −inf at t = 0."""
    return torch.log(clock) - log_loss


def elapsed(log_t: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """v = log(1 + log(1 + t)), the scale on which records are even: like t at first, like log log t at the end."""
    return torch.log1p(softplus(log_t))
