"""Many numbers in one: worst cases that do not hide a nan, and straight lines."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

__all__ = ["greatest", "line"]


def greatest(values: Iterable[float | Tensor]) -> float:
    """The largest of all numbers and entries of tensors; nan if one is nan or there is none, so that no claim holds."""
    flat = [torch.as_tensor(value, dtype=torch.float64).detach().cpu().flatten() for value in values]
    everything = torch.cat(flat) if flat else torch.empty(0)
    return float(everything.amax()) if len(everything) else math.nan


def line(x: Tensor, y: Tensor) -> tuple[float, float]:
    """Slope and intercept of the least-squares line through the points."""
    deviation = x - x.mean()
    slope = float((deviation * y).sum() / deviation.square().sum())
    return slope, float(y.mean()) - slope * float(x.mean())
