"""The claims about weight decay: ends, departures, directions for unequal counts, and rare classes."""

import ulpm
from theory_experiments.harness.claim import Claim
from theory_experiments.numerics.decayed_ends import closed_margin, end_claims
from theory_experiments.numerics.invariants import invariant_claims
from theory_experiments.theorems.weight_decay.config import Config
from theory_experiments.theorems.weight_decay.departure import departure_claims
from theory_experiments.theorems.weight_decay.measurement import Data
from theory_experiments.theorems.weight_decay.rare_classes import rare_class_claims
from theory_experiments.theorems.weight_decay.unequal_counts import far_claims

__all__ = ["check"]


def check(config: Config, data: Data) -> list[Claim]:
    """Exponential laws of the invariants, the ends, the departure, the direction, and rare classes."""
    claims = _claims_about_ends(config, data.ends) if data.ends else []
    claims += departure_claims(config, data.ray, data.random) if data.ray else []
    claims += far_claims(config, data.far) if data.far else []
    return claims + (rare_class_claims(config, data.cosines) if data.cosines else [])


def _claims_about_ends(config: Config, ends: list[ulpm.Trajectory]) -> list[Claim]:
    margins = [closed_margin(path.problem, config.sample_factor) for path in ends]
    over = f"largest over {config.starts} random starts and {len(ends)} settings"
    return [*invariant_claims(ends, config.rtol), *end_claims(ends, margins, config.rtol, "Kc ≥ 1", over)]
