"""Block points and critical points found by a search, each with its kind and its least curvature."""

import dataclasses
import functools
import math

import torch
from torch import Tensor

import ulpm
from theory_experiments.harness.work import Work
from theory_experiments.numerics.critical_points import critical_points, landscape, on_sphere
from theory_experiments.numerics.vectors import unflat
from theory_experiments.theorems.benign_landscape.config import Config

__all__ = ["Found", "examined", "noise_like", "simulate"]


@dataclasses.dataclass(frozen=True)
class Found:
    """Points of one problem and norm [B]: kind, tangential share of the gradient, μ, ‖R‖_op and least curvature, of L.

    The last three are from the dense Hessian, the kind is from ulpm. ``of_blocks``: block points, not search.
    """

    problem: ulpm.Problem
    norm: float
    of_blocks: bool
    kinds: tuple[str, ...]
    share: Tensor
    multiplier: Tensor
    operator_norm: Tensor
    curvature: Tensor
    log_loss: Tensor

    @property
    def excess(self) -> int:
        """d − K."""
        return self.problem.feature_dim - self.problem.num_classes


def simulate(config: Config, work: Work) -> tuple[Found, ...]:
    """Classify block points, then search for critical points and classify those found."""
    found = []
    generator = torch.Generator().manual_seed(config.seed)
    for K, b, n in config.blocks:
        for d in (K, K + 1, K + 2):
            problem = ulpm.Problem([n] * K, d)
            for norm in (3.0, 10.0, 30.0):
                point = ulpm.block_state(problem, b, norm).vector()
                moved = point + config.displacement * point.norm() * noise_like(point, generator)
                found.append(examined(problem, moved[None], of_blocks=True))
    for K, n in config.problems:
        for d in sorted({K + more for more in config.dims if K + more >= 2}):
            problem = ulpm.Problem([n] * K, d)
            for norm in config.norms:
                work.tell(f"{config.starts} searches, K = {K}, n = {n}, d = {d}, norm {norm:g}")
                start = problem.random_state(seed=config.seed, replicas=config.starts)
                # Every second start follows the flow for a while, so that we find points of high and of low loss.
                later = work.flow(problem, start, log_time=3.0, records=2).final_state
                mixed = torch.where(torch.arange(config.starts)[:, None] % 2 == 0, start.vector(), later.vector())
                search = functools.partial(_search, config, problem)
                (ends,) = work.replicas(search, on_sphere(mixed, norm))
                ends = ends + config.displacement * norm * noise_like(ends, generator)
                found.append(examined(problem, ends, of_blocks=False))
    return tuple(found)


def examined(problem: ulpm.Problem, points: Tensor, of_blocks: bool) -> Found:
    """The dense Hessian's and ulpm's results for points [B, D]."""
    seen = landscape(problem, points)
    kinds = tuple(ulpm.sphere_critical_point(problem, unflat(problem, point)).kind for point in points)
    return Found(
        problem=problem,
        norm=float(points[0].norm()),
        of_blocks=of_blocks,
        kinds=kinds,
        share=seen.share,
        multiplier=seen.multiplier,
        operator_norm=seen.operator_norm,
        curvature=seen.least_curvature,
        log_loss=seen.log_loss,
    )


def noise_like(points: Tensor, generator: torch.Generator) -> Tensor:
    """Gaussian noise with a norm of about 1 for each point."""
    noise: Tensor = torch.randn(points.shape, generator=generator, dtype=points.dtype) / math.sqrt(points.shape[-1])
    return noise


def _search(config: Config, problem: ulpm.Problem, points: Tensor) -> tuple[Tensor]:
    return (critical_points(problem, points, config.iterations),)
