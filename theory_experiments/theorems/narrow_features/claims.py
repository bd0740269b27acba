"""The claims about flows with few features: what is decided, local minima, the departure from saddles."""

import math

from theory_experiments.harness.claim import Claim
from theory_experiments.numerics.invariants import invariant_claims
from theory_experiments.numerics.summaries import greatest
from theory_experiments.theorems.narrow_features.config import Config
from theory_experiments.theorems.narrow_features.measurement import Size, growth

__all__ = ["check"]


def check(config: Config, data: tuple[Size, ...]) -> list[Claim]:
    """Invariants; how much was decided; minima above the best; collapse at d = K − 1; the rate of departure."""
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
            "the claims below speak of these ends; were they a minority, of nothing much",
        ),
        Claim(
            "KKT residuals of the points that were tested, scaled to q_min = 1: largest",
            greatest(residuals),
            "<=",
            1e-9,
            "so that signs of eigenvalues above 1e-6 in size are not in doubt",
        ),
        Claim(
            "Value of a proven local minimum over the least one of its size, less 1: largest",
            greatest([e.value / size.best - 1 for size, e in minima]),
            "<=",
            1e-6,
            "the claim that no local minimum but the best was met; other values that were met differ by 1e-2",
        ),
        Claim(
            "Value of a proven local minimum with d = K − 1 over K − 1, distance from 1: largest",
            greatest([abs(e.value / size.path.problem.minimum_norm_value - 1) for size, e in collapsing]),
            "<=",
            1e-9,
            "an equality if all of them are neural collapse",
        ),
        Claim(
            f"Exponent in ρ² ~ log t of the departure from a saddle over κ/2, distance from 1: largest of {len(rates)}",
            greatest([abs(rate) for rate in rates]),
            "<=",
            0.05,
            "corrections of the order of the component, 0.01 to 0.02 of Θ, and of 1/q_min = 1e-4",
        ),
    ]
