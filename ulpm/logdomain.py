"""Arithmetic that survives losses of any size: the only place that thinks about overflow, underflow and subnormals."""

import functools
import math

import torch
from jaxtyping import Float
from torch import Tensor


def clamped_exp_(x: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """e^max(x, f) in place, with f = ½ log(smallest normal number) + 1e-5: −354 in float64, −43.6 in float32.

    The floor keeps the result, and the product of two such results, out of the subnormal range, whose arithmetic is
    slow on a CPU. It lies far below the rounding error of anything added to 1: 1e-154 in float64, 1e-19 in float32.
    """
    return x.clamp_(min=math.log(root_of_tiny(x.dtype))).exp_()


def softplus(x: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """log(1 + e^x) to full relative precision wherever e^x is a normal number."""
    return torch.nn.functional.softplus(x, threshold=-_log_epsilon(x.dtype) + 4)


def log_loss_and_shares(
    log_odds: Float[Tensor, "*batch 1 N"],
) -> tuple[Float[Tensor, "*batch 1 1"], Float[Tensor, "*batch 1 N"]]:
    """log L and σ(x_i)/L for L = Σ_i log(1 + e^{x_i}), however large or small the e^{x_i} are.

    If no x_i is above log ε − 4, log(1 + e^x) and σ(x) are e^x to round-off, so that all x_i may be raised by a common
    δ which takes the largest there, and log L = log L(x + δ) − δ. Shares are at least 1e4 times the floor of
    ``clamped_exp_``.
    """
    top = log_odds.amax(-1, keepdim=True)
    raised = top.clamp(min=_log_epsilon(top.dtype) - 4)
    rise = raised - top
    x = log_odds + rise
    total = softplus(x).sum(-1, keepdim=True)
    return total.log().sub_(rise), x.sigmoid_().div_(total).clamp_(min=1e4 * root_of_tiny(x.dtype))


@functools.cache
def root_of_tiny(dtype: torch.dtype) -> float:
    """The root of the smallest normal number, and a little more: a product of two is normal."""
    return math.exp(0.5 * math.log(torch.finfo(dtype).tiny) + 1e-5)


@functools.cache
def _log_epsilon(dtype: torch.dtype) -> float:
    return math.log(torch.finfo(dtype).eps)
