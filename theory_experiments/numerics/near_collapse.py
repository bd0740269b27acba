"""The neighbourhood of collapse on a sphere: ends of searches, perturbed frames, and the Hessian of log L."""

import dataclasses
import functools

import torch
from torch import Tensor

import ulpm
from theory_experiments.harness.work import Work
from theory_experiments.numerics import collapse_on_sphere
from theory_experiments.numerics.critical_points import landscape
from theory_experiments.numerics.directions import block_directions, log_loss_at, near, unit
from theory_experiments.numerics.sphere_search import descend_on_sphere, distance_to

__all__ = ["EQUAL", "SECOND_ORDER", "Curvature", "Near", "curvature", "distance_share", "perturb", "search"]

EQUAL = 1e-12  # |log L − log L_NC|/(1 + q) up to which two losses count as equal
SECOND_ORDER = 1e-5  # q·(log L − log L_NC) up to which the second order is enough


@dataclasses.dataclass(frozen=True)
class Near:
    """Points of the sphere where collapse has the margin q: excess log L − log L_NC [B], and relative distance [B].

    The distance is to the nearest collapsed state, over ρ. ``kind`` is "ends" of searches, or "random" or "softest"
    perturbations of collapse. To second order the excess is at least ``stiffness`` times the square of the distance,
    with equality along the softest direction.
    """

    kind: str
    q: float
    stiffness: float
    excess: Tensor
    distance: Tensor


@dataclasses.dataclass(frozen=True)
class Curvature:
    """The tangential Hessian of log L at collapse.

    ``certificate`` is ‖R‖_op/μ − 1. ``surplus`` is the number of zero curvatures minus that of the rotations.
    ``share`` is the least other curvature over the closed form, and ``softest`` its eigenvector [D].
    """

    certificate: float
    surplus: int
    share: float
    softest: Tensor


def search(
    problem: ulpm.Problem, collapse: Tensor, q: float, starts: int, seed: int, iterations: int, work: Work
) -> Near:
    """Ends of descent on the sphere from random points, from near ``collapse`` [D] and from near block points."""
    generator = torch.Generator().manual_seed(seed)
    random = unit(problem.random_state(seed=seed, replicas=starts).vector())
    close = near(collapse, torch.logspace(-3, 0, starts, dtype=torch.float64), generator)
    few = torch.full((max(1, starts // 8),), 1e-2, dtype=torch.float64)
    blocks = [near(block, few, generator) for block in block_directions(problem)]
    rho = collapse_on_sphere.norm(problem, q)
    descend = functools.partial(descend_on_sphere, problem, iterations=iterations)
    values, points = work.replicas(descend, rho * torch.cat([random, close, *blocks]))
    excess = values - log_loss_at(problem, collapse[None], rho)
    return Near("ends", q, _stiffness(problem, q), excess, distance_to(problem, collapse, points / rho))


def perturb(
    problem: ulpm.Problem, collapse: Tensor, q: float, starts: int, seed: int, curved: Curvature
) -> tuple[Near, Near]:
    """Collapse perturbed by 1e-5 … 0.1 of its norm in random directions, and by 1e-4 … 0.1 in the softest one."""
    generator = torch.Generator().manual_seed(seed)
    random = near(collapse, torch.logspace(-5, -1, 10 * starts, dtype=torch.float64), generator)
    sizes = torch.logspace(-4, -1, max(10, starts), dtype=torch.float64)[:, None]
    softest = unit(collapse + sizes * curved.softest)
    rho, least = collapse_on_sphere.norm(problem, q), _stiffness(problem, q)
    made = []
    for kind, stiffness, points in (("random", least, random), ("softest", least * curved.share, softest)):
        excess = log_loss_at(problem, points, rho) - log_loss_at(problem, collapse[None], rho)
        made.append(Near(kind, q, stiffness, excess, distance_to(problem, collapse, points)))
    return made[0], made[1]


def _stiffness(problem: ulpm.Problem, q: float) -> float:
    """½ρ² times the least curvature: the least excess over the square of the relative distance, to second order."""
    return q * collapse_on_sphere.value(problem) * collapse_on_sphere.least_curvature(problem, q)


def distance_share(each: Near) -> Tensor:
    """distance/(excess/stiffness)^(1/2) where the excess is small, but above rounding, 1e-12·(1 + q)."""
    chosen = each.q * each.excess <= SECOND_ORDER
    seen = each.excess[chosen].clamp(min=EQUAL * (1 + each.q))
    share: Tensor = each.distance[chosen] / (seen / each.stiffness).sqrt()
    return share


def curvature(problem: ulpm.Problem, collapse: Tensor, q: float) -> Curvature:
    """See :class:`Curvature`; the dense Hessian uses no formula for its eigenvalues."""
    K, d = problem.num_classes, problem.feature_dim
    seen = landscape(problem, collapse_on_sphere.norm(problem, q) * collapse[None])
    values = seen.values[0]
    # Rotations of R^d that move the K − 1 dimensions of the frame, and the normal of the sphere.
    unused = max(d - K + 1, 0)
    expected = d * (d - 1) // 2 - unused * (unused - 1) // 2 + 1
    zero = values.abs() < 1e-9 * values.abs().max()
    least = int((~zero).nonzero()[0])
    return Curvature(
        certificate=float(seen.operator_norm[0] / seen.multiplier[0]) - 1,
        surplus=int(zero.sum()) - expected,
        share=float(values[least]) / collapse_on_sphere.least_curvature(problem, q),
        softest=seen.vectors[0, :, least],
    )
