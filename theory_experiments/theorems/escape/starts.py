"""Starts near a block point: along its witnesses, and off them."""

import math

import torch
from torch import Tensor

import ulpm
from theory_experiments.numerics.vectors import unflat
from theory_experiments.theorems.escape.config import Config

__all__ = ["near", "witnesses"]


def witnesses(problem: ulpm.Problem, b: int) -> Tensor:
    """An orthonormal basis [(m − 1)(d − K + m), D] of the directions (u aᵀ, a vᵀ)/√2, each flattened as (W, H)."""
    K, d, m = problem.num_classes, problem.feature_dim, problem.num_classes // b
    # u is constant on blocks, with sum 0; the block point fills the first K − m coordinates.
    left = (ulpm.simplex_etf(m, m - 1) * math.sqrt((m - 1) / m)).repeat_interleave(b, 0) / math.sqrt(b)
    right = left[problem.labels] / math.sqrt(problem.class_counts[0])
    rows = []
    for u, v in zip(left.T, right.T, strict=True):
        for a in torch.eye(d, dtype=torch.float64)[K - m :]:
            rows.append(torch.cat([torch.outer(u, a).flatten(), torch.outer(a, v).flatten()]) / math.sqrt(2))
    return torch.stack(rows)


def near(
    config: Config,
    problem: ulpm.Problem,
    point: ulpm.State,
    directions: Tensor,
    size: Tensor,
    generator: torch.Generator,
) -> ulpm.State:
    """The point plus ε ρ (witness + noise), both random unit vectors, with the noise orthogonal to the witnesses."""
    centre = point.vector()
    along = torch.randn(len(size), len(directions), generator=generator, dtype=torch.float64)
    along = along / along.norm(dim=1, keepdim=True) @ directions
    noise = torch.randn(len(size), len(centre), generator=generator, dtype=torch.float64)
    noise = noise - noise @ directions.T @ directions
    noise = noise / noise.norm(dim=1, keepdim=True)
    start = centre + centre.norm() * size[:, None] * (config.witness * along + config.noise * noise)
    return unflat(problem, start)
