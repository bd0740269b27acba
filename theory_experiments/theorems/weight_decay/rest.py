"""Flows from random starts, until they converge."""

import ulpm
from theory_experiments.harness.work import Work
from theory_experiments.theorems.weight_decay.config import Config

__all__ = ["to_rest"]


def to_rest(
    config: Config, work: Work, problem: ulpm.Problem, starts: int, log10_time: float = 14.0
) -> ulpm.Trajectory:
    """The flow until it converges, or until ``log10_time``.

    The slowest rate of the settings is 1e-8. A flow counts as converged only after a long time without motion, here
    up to t = 10^12. So the default is beyond that.
    """
    start = problem.random_state(config.seed, replicas=starts, device=config.device)
    return work.flow(problem, start, log10_time=log10_time, rtol=config.rtol, records=30)
