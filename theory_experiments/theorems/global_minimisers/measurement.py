"""The optimum of each problem of the grid, and the bounds along flows from random starts."""

import dataclasses
import math

from torch import Tensor

import ulpm
from theory_experiments.harness.work import Work
from theory_experiments.theorems.global_minimisers.config import Config

__all__ = ["Data", "Optimum", "shares", "simulate", "value"]


@dataclasses.dataclass(frozen=True)
class Optimum:
    """The relaxation of a problem: value and duality gap divided by (K − c)√n, and the largest metric."""

    problem: ulpm.Problem
    value: float
    duality_gap: float
    worst_metric: float


@dataclasses.dataclass(frozen=True)
class Data:
    """The optimum of each problem of the grid, and a batch of flows for each problem of ``flows``."""

    optima: tuple[Optimum, ...]
    paths: tuple[ulpm.Trajectory, ...]


def simulate(config: Config, work: Work) -> Data:
    """Solve the relaxation of each problem of the grid, and follow flows from random starts."""
    optima, paths = [], []
    for counts, d in config.grid:
        problem = ulpm.Problem(counts, d)
        work.tell(f"relaxation, K = {problem.num_classes}, N = {problem.num_samples}, d = {d}")
        solution, expected = ulpm.minimum_norm_separation(problem), value(config, problem)
        worst = math.nan  # no factors of this dimension
        if solution.state is not None:
            metrics = ulpm.neural_collapse(solution.state.W, solution.state.H, problem.labels)
            worst = max(float(metric) for metric in metrics.values())
        optima.append(Optimum(problem, solution.value / expected, solution.duality_gap / expected, worst))
    for counts, d in config.flows:
        problem = ulpm.Problem(counts, d)
        work.tell(f"{config.starts} flows, K = {problem.num_classes}, N = {problem.num_samples}, d = {d}")
        start = problem.random_state(seed=config.seed, replicas=config.starts, device=config.device)
        paths.append(work.flow(problem, start, log_time=config.log_time, records=120))
    return Data(tuple(optima), tuple(paths))


def value(config: Config, problem: ulpm.Problem) -> float:
    """(K − c)√n, n the mean count."""
    return (problem.num_classes - config.c) * math.sqrt(problem.num_samples / problem.num_classes)


def shares(config: Config, path: ulpm.Trajectory, column: str) -> Tensor:
    """A bound at all records and starts, divided by (K − c)√n, minus 1."""
    return path.columns()[column] / value(config, path.problem) - 1
