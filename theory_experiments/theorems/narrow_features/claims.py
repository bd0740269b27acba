"""The claims about flows with d < K: what is decided, local minima, the departure from saddles."""

import math

from theory_experiments.harness.claim import Claim
from theory_experiments.numerics.invariants import invariant_claims
from theory_experiments.numerics.summaries import greatest
from theory_experiments.theorems.narrow_features.config import Config
from theory_experiments.theorems.narrow_features.measurement import Size, growth

__all__ = ["check"]


def check(config: Config, data: tuple[Size, ...]) -> list[Claim]:
    """Invariants; how much is decided; minima above the best; collapse at d = K − 1; the rate of departure."""
    decided = [sum(e.kind in ("minimum", "saddle") for e in size.endings) / len(size.endings) for size in data]
    minima = [(size, e) for size in data for e in size.endings if e.kind == "minimum"]
    collapsing = [(size, e) for size, e in minima if math.isfinite(size.path.problem.minimum_norm_value)]
    residuals = [e.residual for size in data for e in size.endings if e.kind != "unresolved"]
    departures = [size.departure for size in data if size.departure]
    rates = [growth(departure) / (-config.rate * departure.curvature) - 1 for departure in departures]
    return [
        *invariant_claims(size.path for size in data),
        Claim(
            f"Share of ends that the second-order test decides: least over {len(data)} sizes",
            min(decided),
            ">=",
            config.min_resolved,
            "the claims below are about these ends; if they were a minority, the claims would say little",
        ),
        Claim(
            "KKT residuals of the tested points, scaled to q_min = 1: largest",
            greatest(residuals),
            "<=",
            1e-9,
            "so the signs of eigenvalues above 1e-6 in size are certain",
        ),
        Claim(
            "Value of a proven local minimum divided by the least value of its size, minus 1: largest",
            greatest([e.value / size.best - 1 for size, e in minima]),
            "<=",
            1e-6,
            "the claim that flows met no local minimum but the best one; other values that they met differ by 1e-2",
        ),
        Claim(
            "Value of a proven local minimum with d = K − 1 divided by K − 1, distance from 1: largest",
            greatest([abs(e.value / size.path.problem.minimum_norm_value - 1) for size, e in collapsing]),
            "<=",
            1e-9,
            "an equality if all of them are neural collapse",
        ),
        Claim(
            "Exponent in ρ² ~ log t of the departure from a saddle divided by κ/2, distance from 1: largest of "
            f"{len(rates)}",
            greatest([abs(rate) for rate in rates]),
            "<=",
            0.05,
            "corrections are of the order of the component, 0.01 to 0.02 of Θ, and of 1/q_min = 1e-4",
        ),
    ]
