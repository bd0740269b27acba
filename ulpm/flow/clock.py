"""Time, which overflows every float, carried as the clock T = t·L; and the scales on which records are even.

In rescaled time ds = L dt the loss obeys d log L/ds = −‖∇ log L‖² =: −g², so that

    dT/ds = 1 − T g²,    log t = log T − log L,

and T stays of the order of 1/log t however late it is. As a component of the state, T would be the least accurate one
by orders of magnitude: it changes by the factor e^{Δ log L} in a step in which (W, H) hardly turns. So it is found
after each step, in closed form but for log L inside the step, which is as smooth as (W, H).

A loss that reaches 0 at finite logits is followed in ds = dt instead, and then T is t itself.
"""

import dataclasses
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ulpm.logdomain import softplus

_Array = numpy.typing.NDArray[Any]

# e^{−40} is below any rounding error; 24 points integrate e^{−40x} on [0, 1] to 2e-14.
_LAYERS = 40.0
_GAUSS = np.polynomial.legendre.leggauss(24)
# e^±650 is a normal number, with room for what it is multiplied by.
_LARGEST_EXPONENT = 650.0
# 0 stands for the end itself.
_NODES, _WEIGHTS = np.append(0.0, (_GAUSS[0] + 1) / 2)[:, None], _GAUSS[1] / 2

__all__ = [
    "Clock",
    "LossClock",
    "LossInside",
    "PlainClock",
    "clock_at",
    "clock_inside_step",
    "clock_through_step",
    "elapsed",
    "log_time",
    "log_time_at",
]


@dataclasses.dataclass(frozen=True)
class LossInside:
    """What is known of log L in a step of each replica: its values at the start, the middle and the end, and its slope
    −d log L/ds at both ends, in float64 on the host.
    """

    step_size: Float[Tensor, " B"]
    log_loss: tuple[Float[Tensor, " B"], Float[Tensor, " B"], Float[Tensor, " B"]]
    slope: tuple[Float[Tensor, " B"], Float[Tensor, " B"]]

    def take(self, rows: Int[Tensor, " S"]) -> "LossInside":
        """Some replicas."""
        (start, middle, end), (first, last) = self.log_loss, self.slope
        return LossInside(self.step_size[rows], (start[rows], middle[rows], end[rows]), (first[rows], last[rows]))

    def at(self, theta: Float[Tensor, " B"]) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        """log L and −d log L/ds at the fraction ``theta`` of the step, by the quartic through all of that."""
        x, h, start = theta.numpy(), self.step_size.numpy(), self.log_loss[0].numpy()
        m0, c2, c3, lacking = _coefficients(self)
        bump = 16 * lacking * x * (1 - x)
        value = start + x * (m0 + x * (c2 + x * c3) + bump * (1 - x))
        fall = -(m0 + x * (2 * c2 + 3 * c3 * x) + 2 * bump * (1 - 2 * x)) / h
        return torch.from_numpy(value), torch.from_numpy(fall)


def clock_through_step(clock: Float[Tensor, " B"], loss: LossInside) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """T at the end of a step, which may be far longer than 1/g², and an estimate of its error.

        T(s) = T(0) e^{log L(s) − log L(0)} + ∫_0^s e^{log L(s) − log L(r)} dr

    is exact. log L(r) is the quartic through its values at the start, the middle and the end of the step and its slopes
    −g² at both ends. The cubic without the middle, and the parabola without the slope at the start as well, give two
    more values T₃ and T₂ beside T₄. If what each lacks is smaller than what the one before lacks by about the same
    factor, T₄ lacks (T₄ − T₃)²/(T₃ − T₂): the estimate, with the factor kept within 0.01 and 1.
    """
    T4, T3, T2 = _clocks(clock, loss, 1.0, degrees=(4, 3, 2))
    coarse, fine = np.abs(T3 - T2), np.abs(T4 - T3)
    factor = np.divide(fine, coarse, out=np.ones_like(fine), where=coarse > 0)
    return torch.from_numpy(T4), torch.from_numpy(fine * np.minimum(np.maximum(factor, 0.01), 1.0))


def clock_inside_step(clock: Float[Tensor, " B"], loss: LossInside, theta: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    """T at the fraction ``theta`` of a step, by the same quartic."""
    return torch.from_numpy(_clocks(clock, loss, theta.numpy(), degrees=(4,))[0])


def _clocks(clock: Tensor, loss: LossInside, theta: _Array | float, degrees: tuple[int, ...]) -> _Array:
    """T at a fraction of the step by polynomials of the given degrees: [degrees, B]."""
    # In numpy, whose small operations take a third of the time of torch's.
    T, h = clock.numpy(), loss.step_size.numpy()
    first, last = (values.numpy() for values in loss.slope)
    reach = np.minimum(theta * h, _LAYERS / np.maximum(np.minimum(first, last), 1e-300))
    x = (theta * h - reach * _NODES) / h
    # Changes of log L since the start as polynomials in the fraction x of the step.
    m0, c2, c3, lacking = _coefficients(loss)
    cubic = x * (m0 + x * (c2 + x * c3))
    changes = {4: cubic + 16 * lacking * np.square(x * (1 - x)), 3: cubic}
    if 2 in degrees:
        rise, m1 = (loss.log_loss[2] - loss.log_loss[0]).numpy(), -last * h
        changes[2] = x * ((2 * rise - m1) + x * (m1 - rise))
    change = np.stack([changes[degree] for degree in degrees])
    # The first node is the end itself.
    fallen = change[:, :1] - change
    fallen[:, 0] = change[:, 0]
    with np.errstate(over="ignore", invalid="ignore"):
        # Not np.clip, which takes as long as all the rest.
        factors = np.exp(np.minimum(np.maximum(fallen, -700), 0))
        integrals = np.einsum("pnb,n->pb", factors[:, 1:], _WEIGHTS)
        result: _Array = T * factors[:, 0] + integrals * reach
    return result


def _coefficients(loss: LossInside) -> tuple[_Array, _Array, _Array, _Array]:
    """m0, c2, c3 and l of log L(0) + x (m0 + x (c2 + x c3)) + 16 l x²(1 − x)² in the fraction x of the step."""
    h = loss.step_size.numpy()
    start, middle, end = (values.numpy() for values in loss.log_loss)
    rise, m0, m1 = end - start, -loss.slope[0].numpy() * h, -loss.slope[1].numpy() * h
    c2, c3 = 3 * rise - 2 * m0 - m1, m0 + m1 - 2 * rise
    return m0, c2, c3, middle - start - (0.5 * m0 + 0.25 * c2 + 0.125 * c3)


def clock_at(log_t: Float[Tensor, "*any"], log_loss: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """T = t·L of a start at log t; 0 at t = 0.

    Raises: ValueError where T is so small or large that no normal number holds it.
    """
    exponent = log_t + log_loss
    if not bool(((log_t == -torch.inf) | (exponent.abs() <= _LARGEST_EXPONENT)).all()):
        raise ValueError(
            f"start_log_time plus the log loss of the start must lie within ±{_LARGEST_EXPONENT:g}, but is "
            f"{float(exponent.abs().max()):.4g} in size: leave start_log_time out for a start at t = 0."
        )
    return torch.exp(exponent)


def log_time(clock: Float[Tensor, "*any"], log_loss: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """log t = log T − log L; −inf at t = 0."""
    return torch.log(clock) - log_loss


def elapsed(log_t: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """v = log(1 + log(1 + t)), the scale on which records are even: like t at first, like log log t at the end."""
    return torch.log1p(softplus(log_t))


def log_time_at(v: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """log t at v = ``elapsed(log t)``."""
    log_one_plus_t = torch.expm1(v)
    # Where t is large, log t is log(1 + t) to round-off, and where it is huge expm1 overflows.
    return torch.where(v < 3, torch.log(torch.expm1(log_one_plus_t)), log_one_plus_t)


@runtime_checkable
class Clock(Protocol):
    """What is carried as time, and how a flow in s tells it."""

    def start(self, log_t: Float[Tensor, " B"], log_loss: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Its value at a start at log t. Raises: ValueError where no number holds it."""
        ...

    def through_step(
        self, clock: Float[Tensor, " B"], loss: LossInside
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        """Its value at the end of a step, and an estimate of the error."""
        ...

    def inside_step(
        self, clock: Float[Tensor, " B"], loss: LossInside, theta: Float[Tensor, " B"]
    ) -> Float[Tensor, " B"]:
        """Its value at a fraction of a step."""
        ...

    def log_time(self, clock: Float[Tensor, "*any"], log_loss: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """log t."""
        ...

    def log_scale(self, log_loss: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """log ds/dt."""
        ...

    def slope(self, speed: Float[Tensor, " B"], log_loss: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """−d log L/ds, by ``speed`` = ‖dΘ/ds‖."""
        ...


class LossClock:
    """ds = L dt, with T = t·L."""

    start = staticmethod(clock_at)
    through_step = staticmethod(clock_through_step)
    inside_step = staticmethod(clock_inside_step)
    log_time = staticmethod(log_time)

    @staticmethod
    def log_scale(log_loss: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """log L."""
        return log_loss

    @staticmethod
    def slope(speed: Float[Tensor, " B"], log_loss: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """‖∇ log L‖²."""
        return speed.square()


class PlainClock:
    """ds = dt, with T = t."""

    @staticmethod
    def start(log_t: Float[Tensor, " B"], log_loss: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """t."""
        t = torch.exp(log_t)
        if not bool(torch.isfinite(t).all()):
            raise ValueError("start_log_time must be below 709, for a loss that reaches 0 at finite logits.")
        return t

    @staticmethod
    def through_step(clock: Float[Tensor, " B"], loss: LossInside) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        """Without error."""
        return clock + loss.step_size, torch.zeros_like(clock)

    @staticmethod
    def inside_step(clock: Float[Tensor, " B"], loss: LossInside, theta: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """t + θh."""
        return clock + theta * loss.step_size

    @staticmethod
    def log_time(clock: Float[Tensor, "*any"], log_loss: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """log t."""
        return torch.log(clock)

    @staticmethod
    def log_scale(log_loss: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """0."""
        return torch.zeros_like(log_loss)

    @staticmethod
    def slope(speed: Float[Tensor, " B"], log_loss: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """‖∇L‖²/L."""
        return speed.square() * torch.exp(-log_loss)
