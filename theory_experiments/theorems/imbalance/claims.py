"""The claims about imbalance: drifts, then for each imbalance the constants, the logits and the geometry."""

import math

from theory_experiments.harness.claim import Claim
from theory_experiments.theorems.imbalance.config import Config
from theory_experiments.theorems.imbalance.constants import value_claims, variability_claims
from theory_experiments.theorems.imbalance.measurement import Data, Imbalance

__all__ = ["check"]


def check(config: Config, data: Data) -> list[Claim]:
    """Drifts, then for each imbalance the value, the logits, the sharp constants, and the geometry."""
    where = f"over {config.starts} starts, all records and 1:{', 1:'.join(map(str, config.ratios))}"
    total, balancedness = (
        max(float(one.path.invariant_drift[name].max()) for one in data) for name in ("classifier_sum", "balancedness")
    )
    claims = [
        Claim(
            f"Drift of Σ_k w_k relative to ρ, largest {where}.",
            total,
            "<=",
            2e-12,
            "Runge–Kutta methods conserve it up to rounding: 10⁴ roundings of 2.2e-16",
        ),
        Claim(
            f"Drift of WᵀW − HHᵀ relative to ρ², largest {where}.",
            balancedness,
            "<=",
            20 * config.rtol,
            "some hundred steps in which the state changes much, with independent local errors of 2·rtol·ρ² each",
        ),
    ]
    for one in data:
        claims += [*value_claims(config, one), _logits_claim(config, one), *_geometry_claims(config, one)]
        if one.ratio > 1:
            claims += variability_claims(config, one)
    return claims


def _logits_claim(config: Config, one: Imbalance) -> Claim:
    end = one.path.log_time[-1]
    miss = (one.logits_distance[-1] * end - one.logits_constant).abs().max() / max(one.logits_constant, 1.0)
    return Claim(
        "Distance of the class-mean logits' direction from I − 11ᵀ/K, times log t, minus its predicted limit "
        f"{one.logits_constant:.4g}, divided by the larger of that and 1, at 1:{one.ratio} and log t = "
        f"{config.log_time:g}, largest over {config.starts} starts.",
        float(miss),
        "<=",
        0.01 + 3 * math.log(config.log_time) / config.log_time,
        "the next correction is (log log t + O(1))/log t; we allow one per cent for the integrator: late in the "
        "run its tolerance rtol is not smaller than the distance itself, though fast modes damp its errors in the "
        "logits",
    )


def _geometry_claims(config: Config, one: Imbalance) -> list[Claim]:
    """W Wᵀ and nc3_difference, which an ETF would have at another value."""
    limit, order = one.limits["nc3_difference"], 3 / math.sqrt(config.log_time)
    ends = f"at 1:{one.ratio} and log t = {config.log_time:g}, largest over {config.starts} starts"
    reason = (
        "frozen parts of W and H of the order of 1, compared with ρ: a relative error of 1/√(log t), with a "
        "reserve of 3"
    )
    nc3 = one.path.metrics["nc3_difference"][-1]
    return [
        Claim(
            f"Distance of the direction of W Wᵀ from that of {config.geometry} geometry {ends}.",
            float(one.gram_distance.max()),
            "<=",
            order,
            reason,
        ),
        Claim(
            f"|nc3_difference − {limit if limit > 1e-12 else 0:.4g}|, with its value in {config.geometry} geometry, "
            f"{ends}.",
            float((nc3 - limit).abs().max()),
            "<=",
            order,
            reason,
        ),
    ]
