"""The claims about the simulated flow: size, fall and exponent of each metric."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

import ulpm
from theory_experiments.harness.claim import Claim
from theory_experiments.numerics.invariants import invariant_claims
from theory_experiments.theorems.simulation.config import Config
from theory_experiments.theorems.simulation.measurement import PANELS, Data, claimed_exponents, measured_exponents

__all__ = ["check"]


def check(config: Config, data: Data) -> list[Claim]:
    """The invariants. For each metric: its size at the end, that it falls in the second half, and its exponent."""
    claims = invariant_claims([data.path], config.rtol)
    intervals, laws = measured_exponents(config, data.path), claimed_exponents(config)
    for what, names in PANELS.items():
        for name in names:
            values = data.path.metrics[name]
            claims += [
                Claim(
                    f"`{name}` ({what}) at t = 10^{config.log10_time:g}, largest over {config.starts} starts.",
                    float(values[-1].max()),
                    "<=",
                    _bound(data.path),
                    "only the frozen part does not vanish relative to the growing part, and it is at most the "
                    "whole start: ρ(0)/ρ at the end, with ‖W‖ = ρ/√2 in place of ρ",
                ),
                Claim(
                    f"`{name}` ({what}): largest ratio of a record to the one before, over {config.starts} starts "
                    "and the later half of the records.",
                    float(_ratios(values).max()),
                    "<=",
                    1.0,
                    "a metric that vanishes like a power of log t falls from record to record",
                ),
                Claim(
                    f"`{name}` ({what}): exponent in log t, {intervals[name]} (95%, {config.starts} starts): "
                    f"distance from {laws[name]:g} to the far end of the interval.",
                    intervals[name].distance(laws[name]),
                    "<=",
                    config.fit_from**-0.5,
                    "the next term of each expansion is smaller by at least (log t)^(−1/2); it changes the slope "
                    f"by about half of that where the fit starts, at log t = {config.fit_from:.4g}",
                ),
            ]
    return claims


def _bound(path: ulpm.Trajectory) -> float:
    """Largest ρ(0)/ρ at the end over starts, times √2 for ‖W‖ = ρ/√2."""
    return math.sqrt(2) * float((path.squared_norm[0] / path.squared_norm[-1]).sqrt().max())


def _ratios(values: Float[Tensor, "R B"]) -> Float[Tensor, "S B"]:
    later = values[len(values) // 2 :]
    return torch.nan_to_num(later[1:] / later[:-1], nan=math.inf)
