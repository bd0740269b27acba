"""Time, which overflows every float, carried as the clock T = t·L; and the scales on which records are even.

In rescaled time ds = L dt the loss obeys d log L/ds = −‖∇ log L‖² =: −g², so that

    dT/ds = 1 − T g²,    log t = log T − log L,

and T stays of the order of 1/log t however late it is. As a component of the state, T would be the least accurate one
by orders of magnitude: it changes by the factor e^{Δ log L} in a step in which (W, H) hardly turns. So it is found
after each step, in closed form but for log L inside the step, which is as smooth as (W, H).
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ulpm.logdomain import softplus

# e^{−60} is below any rounding error; 48 points integrate e^{−60x} on [0, 1] to round-off.
_LAYERS = 60.0
_GAUSS = np.polynomial.legendre.leggauss(48)
# 0 stands for the end itself.
_NODES, _WEIGHTS = np.append(0.0, (_GAUSS[0] + 1) / 2)[:, None], _GAUSS[1] / 2

__all__ = ["clock_through_step", "elapsed", "log_time"]


def clock_through_step(
    clock: Float[Tensor, " B"],
    step_size: Float[Tensor, " B"],
    log_loss: tuple[Float[Tensor, " B"], Float[Tensor, " B"], Float[Tensor, " B"]],
    squared_gradient: tuple[Float[Tensor, " B"], Float[Tensor, " B"]],
    theta: Float[Tensor, " B"] | float = 1.0,
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """T at the fraction ``theta`` of a step, which may be far longer than 1/g², and an estimate of its error.

        T(s) = T(0) e^{log L(s) − log L(0)} + ∫_0^s e^{log L(s) − log L(r)} dr

    is exact. log L(r) is the quartic through its values at the start, the middle and the end of the step and its slopes
    −g² at both ends; ``log_loss`` and ``squared_gradient`` hold these, in float64. The cubic without the middle, and
    the parabola without the slope at the start as well, give two more values T₃ and T₂ beside T₄. If what each lacks
    is smaller than what the one before lacks by about the same factor, T₄ lacks (T₄ − T₃)²/(T₃ − T₂): the estimate,
    with the factor kept within 0.01 and 1.
    """
    # In numpy, whose small operations take a third of the time; this is on the host.
    T, h = clock.numpy(), step_size.numpy()
    start, middle, end = (values.numpy() for values in log_loss)
    first, last = (values.numpy() for values in squared_gradient)
    times = np.asarray(theta) * h
    reach = np.minimum(times, _LAYERS / np.maximum(np.minimum(first, last), 1e-300))
    x = (times - reach * _NODES) / h
    rise, m0, m1 = end - start, -first * h, -last * h
    # Polynomials in the fraction x of the step, and what vanishes twice at both ends.
    parabola = x * ((2 * rise - m1) + x * (m1 - rise))
    c2, c3 = 3 * rise - 2 * m0 - m1, m0 + m1 - 2 * rise
    cubic = x * (m0 + x * (c2 + x * c3))
    lacking = middle - start - (0.5 * m0 + 0.25 * c2 + 0.125 * c3)
    quartic = cubic + 16 * lacking * np.square(x * (1 - x))
    change = np.stack([quartic, cubic, parabola])
    here = change[:, :1]
    with np.errstate(over="ignore", invalid="ignore"):
        integrals = np.einsum("pnb,n->pb", np.exp(np.clip(here - change[:, 1:], -700, 0)), _WEIGHTS)
        T4, T3, T2 = T * np.exp(np.clip(here[:, 0], -700, 0)) + integrals * reach
        coarse, fine = np.abs(T3 - T2), np.abs(T4 - T3)
        factor = np.divide(fine, coarse, out=np.ones_like(fine), where=coarse > 0)
        return torch.from_numpy(T4), torch.from_numpy(fine * np.clip(factor, 0.01, 1.0))


def log_time(clock: Float[Tensor, "*any"], log_loss: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """log t = log T − log L; −inf at t = 0."""
    return torch.log(clock) - log_loss


def elapsed(log_t: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """v = log(1 + log(1 + t)), the scale on which records are even: like t at first, like log log t at the end."""
    return torch.log1p(softplus(log_t))
