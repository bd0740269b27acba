"""All runs, and the comparisons that are computed without the library's flow."""

import dataclasses
from collections.abc import Mapping

from theory_experiments.harness.work import Work
from theory_experiments.numerics import rays
from theory_experiments.theorems.solved_flows.config import Config
from theory_experiments.theorems.solved_flows.losses import Constants, constants, direct_errors
from theory_experiments.theorems.solved_flows.ray import Ray, run_ray
from theory_experiments.theorems.solved_flows.singular_values import Diagonal, excess_of_mean_margin, run_diagonal

__all__ = ["Data", "simulate"]


@dataclasses.dataclass(frozen=True)
class Data:
    """``direct`` errors by loss, ``excess`` of the mean margin over the mean of σ by K, ``constants`` by loss."""

    rays: list[Ray]
    diagonals: list[Diagonal]
    direct: Mapping[str, float]
    excess: Mapping[int, float]
    constants: list[Constants]


def simulate(config: Config, work: Work) -> Data:
    """All runs, and the comparisons that are computed without the library's flow."""
    made = []
    for sizes in config.rays:
        for rtol in config.ray_rtols:
            work.tell(f"the collapsed ray of K, n, d = {sizes} at rtol {rtol:g}")
            made.append(run_ray(config, work, sizes, rtol))
    diagonals = []
    for sizes in config.hadamard:
        work.tell(f"Hadamard starts of K, n, d = {sizes}")
        diagonals.append(run_diagonal(config, work, sizes))
    work.tell("other losses")
    tails = [rays.tail(gamma) for gamma in config.gammas]
    return Data(
        made,
        diagonals,
        direct_errors(tails),
        {K: excess_of_mean_margin(config, K) for K in ((4, 8, 16, 32) if diagonals else ())},
        [constants(config, tail) for tail in tails],
    )
