"""Time, which overflows every float, carried as the clock T = t·L; and the scales on which records are even.

In rescaled time ds = L dt the loss obeys d log L/ds = −‖∇ log L‖² =: −g², so that

    dT/ds = 1 − T g²,    log t = log T − log L.

T stays of the order of 1/log t however late it is. It is integrated as one more component of the state, under the same
error control: a component whose quasi-steady value 1/g² is a fixed point of every Runge–Kutta method.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ulpm.logdomain import softplus

__all__ = ["clock_rate", "elapsed", "log_time"]


def clock_rate(clock: Float[Tensor, " B"], squared_gradient: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    """dT/ds = 1 − T g² with g² = ‖∇ log L‖²."""
    return 1 - clock * squared_gradient


def log_time(clock: Float[Tensor, "*any"], log_loss: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """log t = log T − log L; −inf at t = 0."""
    return torch.log(clock) - log_loss


def elapsed(log_t: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """v = log(1 + log(1 + t)), the scale on which records are even: like t at first, like log log t at the end."""
    return torch.log1p(softplus(log_t))


def log_time_of(v: float) -> float:
    """The inverse of ``elapsed``: log t = log(e^{e^v − 1} − 1)."""
    tau = math.expm1(v)
    return tau + math.log(-math.expm1(-tau)) if tau > 0 else -math.inf
