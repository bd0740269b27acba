"""Flows from random starts, their smoothed margins, and the bound on complementary slackness."""

import dataclasses
import math
import warnings

import torch
from jaxtyping import Bool, Float
from torch import Tensor

import ulpm
from theory_experiments.harness.work import Work
from theory_experiments.theorems.implicit_bias.config import Config

__all__ = ["Data", "separated", "simulate", "slack_bound", "smoothed_margin"]


@dataclasses.dataclass(frozen=True)
class Data:
    """A trajectory of ``starts`` replicas for each problem."""

    paths: list[ulpm.Trajectory]


def simulate(config: Config, work: Work) -> Data:
    """The flow from random starts."""
    paths = []
    for counts, dim in config.problems:
        problem = ulpm.Problem(counts, dim, weight_decay=(config.weight_decay, config.weight_decay))
        work.tell(f"{problem} to t = 10^{config.log10_time:g}")
        start = problem.random_state(config.seed, replicas=config.starts, device=config.device)
        with warnings.catch_warnings():
            # One of the negative controls triggers this warning.
            warnings.filterwarnings("ignore", message="In one dimension")
            paths.append(
                work.flow(problem, start, log10_time=config.log10_time, rtol=config.rtol, records=config.records)
            )
    return Data(paths)


def separated(path: ulpm.Trajectory) -> Bool[Tensor, " R *batch"]:
    """Which records have L < log 2."""
    return path.log_loss < math.log(math.log(2))


def smoothed_margin(config: Config, path: ulpm.Trajectory) -> Float[Tensor, " R *batch"]:
    """−log(e^L − 1)/ρ^p; for small L the logarithm is log L + L/2, to L²/24."""
    L = path.log_loss.exp()
    log_expm1 = torch.where(L < 1e-6, path.log_loss + L / 2, L.expm1().log())
    return -log_expm1 / path.squared_norm ** (config.power / 2)


def slack_bound(problem: ulpm.Problem) -> float:
    """2N(K − 1)/e: the bound on complementary slackness times q_min."""
    return 2 * problem.num_samples * (problem.num_classes - 1) / math.e
