"""Arithmetic that survives losses of any size: the only place that thinks about overflow, underflow and subnormals."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def clamped_exp(x: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """e^max(x, f) with f = ½ log(smallest normal number) + 1e-5: −354 in float64, −43.6 in float32.

    The floor keeps the result, and the product of two such results, out of the subnormal range, whose arithmetic is
    slow on a CPU. It lies far below the rounding error of anything added to 1: 1e-154 in float64, 1e-19 in float32.
    """
    return torch.exp(x.clamp(min=0.5 * math.log(torch.finfo(x.dtype).tiny) + 1e-5))


def logsumexp(x: Float[Tensor, "..."], dim: int) -> Float[Tensor, "..."]:
    """log Σ e^x along ``dim``; entries further below the largest than ``clamped_exp`` resolves count as its floor."""
    top = x.amax(dim, keepdim=True)
    return top.squeeze(dim) + torch.log(clamped_exp(x - top).sum(dim))


def softplus(x: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """log(1 + e^x) to full relative precision wherever e^x is a normal number."""
    return torch.nn.functional.softplus(x, threshold=-_log_epsilon(x) + 4)


def log_softplus(x: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """log(log(1 + e^x)) for any finite x: the log of the cross-entropy of a sample with log-odds x against its label.

    Below log(machine epsilon) it equals x to round-off, since log(1 + e^x) = e^x (1 − e^x/2 + …).
    """
    cut = _log_epsilon(x)
    return torch.where(x < cut, x, torch.log(softplus(x.clamp(min=cut))))


def _log_epsilon(x: Tensor) -> float:
    return math.log(torch.finfo(x.dtype).eps)
