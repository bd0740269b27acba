"""All flows with weight decay."""

import dataclasses

from jaxtyping import Float
from torch import Tensor

import ulpm
from theory_experiments.harness.work import Work
from theory_experiments.theorems.weight_decay.config import Config
from theory_experiments.theorems.weight_decay.departure import Departure, depart
from theory_experiments.theorems.weight_decay.rare_classes import rare_cosines
from theory_experiments.theorems.weight_decay.rest import to_rest
from theory_experiments.theorems.weight_decay.unequal_counts import Far, far_end

__all__ = ["Data", "simulate"]


@dataclasses.dataclass(frozen=True)
class Data:
    """Runs of ``ends``; departures on the ray and from random starts; ``far``; cosines of rare classes by R."""

    ends: list[ulpm.Trajectory]
    ray: list[Departure]
    random: list[Departure]
    far: list[Far]
    cosines: dict[int, tuple[float, Float[Tensor, " B"]]]


def simulate(config: Config, work: Work) -> Data:
    """All flows, until they converge, or until well after the departure."""
    ends, ray, random = [], [], []
    for setting in config.ends:
        work.tell(f"the end of {setting}")
        ends.append(to_rest(config, work, setting.problem, config.starts))
    for exponent in config.exponents:
        work.tell(f"the departure at λ = 1e-{exponent}")
        ray.append(depart(config, work, 10.0**-exponent, on_ray=True))
        random.append(depart(config, work, 10.0**-exponent, on_ray=False))
    cosines = {R: rare_cosines(config, work, R) for R in config.ratios}
    return Data(ends, ray, random, [far_end(config, work, 10.0**-exponent) for exponent in config.far], cosines)
