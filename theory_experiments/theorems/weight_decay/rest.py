"""Flows from random starts, followed to rest."""

import ulpm
from theory_experiments.harness.work import Work
from theory_experiments.theorems.weight_decay.config import Config

__all__ = ["to_rest"]


def to_rest(
    config: Config, work: Work, problem: ulpm.Problem, starts: int, log10_time: float = 10.0
) -> ulpm.Trajectory:
    """The default time is a hundred times the inverse of the slowest rate of the settings, 1e-8."""
    start = problem.random_state(config.seed, replicas=starts, device=config.device)
    return work.flow(problem, start, log10_time=log10_time, rtol=config.rtol, records=30)
