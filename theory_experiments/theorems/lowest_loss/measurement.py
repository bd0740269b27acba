"""What we compare with collapse at every norm: families of directions, searches, and the second order."""

import dataclasses
import math

import torch
from torch import Tensor

import ulpm
from theory_experiments.harness.work import Work
from theory_experiments.numerics import collapse_on_sphere
from theory_experiments.numerics.direction_families import separating_directions
from theory_experiments.numerics.directions import log_loss_at, unit
from theory_experiments.numerics.near_collapse import Curvature, Near, curvature, perturb, search
from theory_experiments.numerics.vectors import unflat
from theory_experiments.theorems.lowest_loss.config import Config
from ulpm.plotting import style

__all__ = ["Compared", "Tried", "at_all_norms", "claimed", "compare", "simulate", "turned"]


@dataclasses.dataclass(frozen=True)
class Compared:
    """One family: γ/γ* [B], and at all norms [M, B] the excess log L − log L_NC and its bound log(1 + μD/L_NC)."""

    family: str
    share: Tensor
    excess: Tensor
    bound: Tensor


@dataclasses.dataclass(frozen=True)
class Tried:
    """One problem: log L_NC at all norms [M], everything compared with it, and the second order.

    ``turned`` [M, starts] is the excess of collapse in rotated coordinates. ``kinds`` are the kinds of the critical
    points at collapse.
    """

    problem: ulpm.Problem
    log_losses: Tensor
    turned: Tensor
    kinds: tuple[str, ...]
    compared: tuple[Compared, ...]
    near: tuple[Near, ...]
    curvatures: tuple[Curvature, ...]


def simulate(config: Config, work: Work) -> tuple[Tried, ...]:
    """For each problem: compare families at all norms, search for lower points, and test the second order."""
    tried = []
    for counts, d in config.problems:
        problem = ulpm.Problem(counts, d)
        collapse = claimed(config, problem)
        work.tell(f"families, {style.sizes(problem)}")
        families = separating_directions(problem, collapse, config.starts, config.seed, config.device, work)
        log_losses = at_all_norms(config, problem, collapse[None])
        curvatures = tuple(curvature(problem, collapse, q) for q in config.searched)
        nearby: list[Near] = []
        for q, curved in zip(config.searched, curvatures, strict=True):
            work.tell(f"searches, {style.sizes(problem)}, q = {q:g}")
            nearby.append(search(problem, collapse, q, config.starts, config.seed, config.iterations, work))
            nearby += perturb(problem, collapse, q, config.starts, config.seed, curved)
        scaled = [unflat(problem, collapse_on_sphere.norm(problem, q) * collapse) for q in config.searched]
        tried.append(
            Tried(
                problem=problem,
                log_losses=log_losses[:, 0],
                turned=at_all_norms(config, problem, turned(config, problem, collapse)) - log_losses,
                kinds=tuple(ulpm.sphere_critical_point(problem, state).kind for state in scaled),
                compared=tuple(
                    compare(config, problem, family, points, log_losses) for family, points in families.items()
                ),
                near=tuple(nearby),
                curvatures=curvatures,
            )
        )
    return tuple(tried)


def claimed(config: Config, problem: ulpm.Problem) -> Tensor:
    """The direction [D] of norm 1 that is claimed to be lowest: collapse, except in negative controls."""
    K, d = problem.num_classes, problem.feature_dim
    rows = ulpm.simplex_etf(K, max(d, K - 1))[:, :d]
    if config.frame == "orthogonal":
        rows = torch.eye(K, d, dtype=torch.float64)
    H = rows / (config.stretch * math.sqrt(problem.num_samples / K))
    return unit(ulpm.State(rows * config.stretch, H[problem.labels].T).vector())


def at_all_norms(config: Config, problem: ulpm.Problem, directions: Tensor) -> Tensor:
    """log L [M, B] of directions [B, D]."""
    norms = [collapse_on_sphere.norm(problem, q) for q in config.margins]
    return torch.stack([log_loss_at(problem, directions, rho) for rho in norms])


def turned(config: Config, problem: ulpm.Problem, collapse: Tensor) -> Tensor:
    """Collapse in randomly rotated coordinates of feature space: [starts, D]."""
    d, state = problem.feature_dim, unflat(problem, collapse)
    generator = torch.Generator().manual_seed(config.seed)
    Q = torch.linalg.qr(torch.randn(config.starts, d, d, generator=generator, dtype=torch.float64)).Q
    return ulpm.State(state.W @ Q, Q.mT @ state.H).vector()


def compare(config: Config, problem: ulpm.Problem, family: str, directions: Tensor, log_losses: Tensor) -> Compared:
    """See :class:`Compared`; ``log_losses`` [M, 1] are those of collapse."""
    D = collapse_on_sphere.shortfall(problem, directions)
    spheres = [
        collapse_on_sphere.multiplier(problem, q) * collapse_on_sphere.norm(problem, q) ** 2 for q in config.margins
    ]
    bound = torch.stack([(config.price * sphere * D).log1p() for sphere in spheres])
    share = ulpm.margin(problem, unflat(problem, directions)) * 2 * collapse_on_sphere.value(problem)
    return Compared(family, share, at_all_norms(config, problem, directions) - log_losses, bound)
