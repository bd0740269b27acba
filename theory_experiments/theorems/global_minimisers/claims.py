"""The claims about the global minimisers: the optimum on the grid, then bounds and ends of the flows."""

import torch
from torch import Tensor

from theory_experiments.harness.claim import Claim
from theory_experiments.numerics.invariants import invariant_claims
from theory_experiments.theorems.global_minimisers.config import Config
from theory_experiments.theorems.global_minimisers.measurement import Data, shares

__all__ = ["check", "largest"]


def check(config: Config, data: Data) -> list[Claim]:
    """Invariants of the flows, then the optimum on the grid, then bounds and ends of the flows."""
    over = f"over {len(data.paths)} problems and {config.starts} starts each"
    grid = f"over {len(data.optima)} problems"
    lower = [shares(config, path, "lower_bound") for path in data.paths]
    upper = [shares(config, path, "nuclear_upper_bound") for path in data.paths]
    ends = [shares(config, path, "upper_bound")[-1].abs() for path in data.paths]
    angles = [path.metrics[f"nc2_angle_{of}"][-1] for path in data.paths for of in ("classifier", "means")]
    return [
        *invariant_claims(data.paths),
        Claim(
            f"Value of the convex relaxation divided by (K − 1)√n, distance from 1: largest {grid}",
            largest([abs(torch.tensor(optimum.value) - 1) for optimum in data.optima]),
            "<=",
            1e-9,
            "an equality; we ask the solver for an accuracy of 1e-9",
        ),
        Claim(
            f"Duality gap of the relaxation divided by (K − 1)√n: largest {grid}",
            largest([abs(torch.tensor(optimum.duality_gap)) for optimum in data.optima]),
            "<=",
            1e-9,
            "a gap of 0 proves the optimum from the answer alone; we ask the solver for an accuracy of 1e-9",
        ),
        Claim(
            f"Metrics of neural collapse of the optimal factors, each 0 at collapse: largest {grid}",
            largest([torch.tensor(optimum.worst_metric) for optimum in data.optima]),
            "<=",
            1e-6,
            "an equality; an error of 1e-12 in the value allows an error of its square root in the geometry",
        ),
        Claim(
            f"Distance by which (K − 1)√n lies outside the bounds of a record, relative to it: largest {over}",
            largest([*lower, *[-share for share in upper]]),
            "<=",
            1e-12,
            "both bounds hold at every point up to rounding, so the optimum lies between them",
        ),
        Claim(
            f"½ρ²/q_min divided by (K − 1)√n, distance from 1, at log t = {config.log_time:g}: largest {over}",
            largest(ends),
            "<=",
            1e-3,
            "the correction is of the order of the start's ρ² over log t, below 1e-3 from log t = 1e5 on; the next "
            "known KKT value is 1/(K − 1) above the optimum, 0.1 or more here",
        ),
        Claim(
            f"Mean distance of the cosines from −1/(K − 1), for W and for class means, at the end: largest {over}",
            largest(angles),
            "<=",
            1e-2,
            "the cosines approach the limit at least like (log t)^(−1/2), with constants of order 1: 3e-3 at log t "
            "= 1e5",
        ),
    ]


def largest(values: list[Tensor]) -> float:
    """The largest finite number in any of the tensors; nan if one is nan."""
    everything = torch.cat([value.flatten() for value in values])
    return float(everything[~everything.isinf()].amax())
