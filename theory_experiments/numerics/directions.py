"""Directions in which the loss goes to zero: points (W, H) of norm 1 that separate all samples, q_min > 0."""

import math

import torch
from torch import Tensor

import ulpm
from theory_experiments.numerics.vectors import unflat

__all__ = ["block_directions", "log_loss_at", "near", "separating", "unit"]


def separating(problem: ulpm.Problem, points: Tensor) -> Tensor:
    """The points among [B, D] that classify all samples strictly, scaled to norm 1."""
    points = unit(points)
    chosen: Tensor = points[ulpm.margin(problem, unflat(problem, points)) > 0]
    return chosen


def unit(points: Tensor) -> Tensor:
    """Points [..., D] scaled to norm 1."""
    scaled: Tensor = points / points.norm(dim=-1, keepdim=True)
    return scaled


def log_loss_at(problem: ulpm.Problem, directions: Tensor, rho: float) -> Tensor:
    """log L [B] of the directions [B, D] scaled to the norm ρ."""
    return ulpm.log_loss(problem, unflat(problem, rho * directions))


def near(point: Tensor, sizes: Tensor, generator: torch.Generator) -> Tensor:
    """The point [D] of norm 1 plus Gaussian noise of about these norms [B], scaled back to norm 1: [B, D]."""
    noise = torch.randn(len(sizes), len(point), generator=generator, dtype=point.dtype) / math.sqrt(len(point))
    return unit(point + sizes[:, None] * noise)


def block_directions(problem: ulpm.Problem) -> Tensor:
    """The block points [M, D] of all block sizes that fit in d dimensions, of norm 1; M may be 0.

    For unequal counts there are none.
    """
    K, d = problem.num_classes, problem.feature_dim
    sizes = [b for b in range(2, K) if K % b == 0 and d >= K - K // b and problem.balanced]
    points = [ulpm.block_state(problem, b).vector() for b in sizes]
    return torch.stack(points) if points else torch.empty(0, d * (K + problem.num_samples), dtype=torch.float64)
