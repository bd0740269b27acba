"""The claims about minority collapse: optima, both sides of the threshold, and descent."""

import torch

from theory_experiments.harness.claim import Claim
from theory_experiments.numerics.minority_curves import Curve, seli_cosine
from theory_experiments.theorems.minority_collapse.config import MODELS, Config
from theory_experiments.theorems.minority_collapse.measurement import Data, Search

__all__ = ["check"]

_MERGED = 1 - 1e-6  # a cosine above this counts as one direction


def check(config: Config, data: Data) -> list[Claim]:
    """The optima are optimal, minorities collapse where predicted and only there, and descent finds the same."""
    worst = max(float(curve.gaps.max()) for curve in (*data.curves.values(), data.margin_problem))
    where = f"over {len(config.ratios)} ratios R from {min(config.ratios)} to {max(config.ratios)}"
    claims = [
        Claim(
            f"Duality gap of the optima of all three models, relative to their values, largest {where}.",
            worst,
            "<=",
            1e-11,
            "a polished solution is exact up to rounding, 1e-16 for each of some K⁴ = 10⁴ operations, with a "
            "reserve of 10",
        )
    ]
    for name, model in MODELS.items():
        claims += _model_claims(config, model, data.curves[name])
    claims += _margin_claims(config, data.margin_problem)
    for name, model in MODELS.items():
        claims += _search_claims(config, model, data.searches[name])
    return claims


def _model_claims(config: Config, model: str, curve: Curve) -> list[Claim]:
    """The angles at both ends, with proven bounds of their errors, and the threshold between."""
    classes = config.majority + config.minority if config.cosine_at_one == "K" else config.minority
    equal, most = config.ratios.index(1), config.ratios.index(max(config.ratios))
    proven = "a duality gap of rounding, 1e-16, bounds angles by its root over the curvature of the loss of a rare"
    merged, worth = curve.cosines >= _MERGED, config.threshold_factor * curve.savings > 1
    return [
        Claim(
            f"{model}: distance of the minority cosines from −1/({config.cosine_at_one} − 1) at R = 1, plus the "
            "error that the duality gap allows.",
            float((curve.cosines[equal] + 1 / (classes - 1)).abs() + curve.errors[equal]),
            "<=",
            1e-4,
            f"{proven} class, here 1e-8/0.01 with a reserve of 100",
        ),
        Claim(
            f"{model}: cosine of two minority classifiers at R = {max(config.ratios)}, the least over pairs, minus "
            "the error that the duality gap allows.",
            float(curve.cosines[most] - curve.errors[most]),
            ">=",
            0.99,
            "minority collapse means a cosine of 1; 0.01 is left for the proven bound of the angle, as the "
            "curvature of the loss of a rare class falls like 1/R",
        ),
        Claim(
            f"{model}: ratios, of {len(config.ratios)}, on the wrong side of the criterion: minority classifiers "
            f"are one (cosine above {_MERGED}) although a direction of their own would save more than it costs, or "
            "are not one although it would not.",
            float((merged == worth).sum()),
            "<=",
            0,
            "the criterion is exact; no ratio is nearer to the threshold than 0.1%, so the cosines differ by more "
            "than these digits",
        ),
    ]


def _margin_claims(config: Config, curve: Curve) -> list[Claim]:
    R = torch.tensor(config.ratios, dtype=torch.float64)
    K = config.majority + config.minority
    return [
        Claim(
            f"(c) margin problem: distance of the minority cosine from its closed form, largest over "
            f"{len(config.ratios)} ratios.",
            float((curve.cosines - seli_cosine(R, config.majority, config.minority)).abs().max()),
            "<=",
            1e-9,
            "both are exact up to rounding: Newton's method polishes the factors of the solution",
        ),
        Claim(
            f"(c) margin problem: minority cosine, largest over ratios up to R = {max(config.ratios)}.",
            float(curve.cosines.max()),
            "<=",
            0.99,
            "no collapse: the claims on (a) and (b) would count cosines above 0.99 as one direction",
        ),
        Claim(
            "(c) margin problem: rank of the logits, smallest over ratios.",
            float(curve.ranks.min()),
            ">=",
            K - 1,
            "every class has a direction of its own: the rank of I − 11ᵀ/K",
        ),
    ]


def _search_claims(config: Config, model: str, search: Search) -> list[Claim]:
    starts = f"over {config.starts} random starts at each of R = {', '.join(map(str, config.searched))}"
    claims = [
        Claim(
            f"{model}: value at the end of descent over all W and single features in d = {config.feature_dim}, "
            f"divided by the value of the relaxation, minus 1, largest {starts}.",
            float(search.excess.max()),
            "<=",
            1e-9,
            "every local minimum is global for d ≥ K; L-BFGS ends at a gradient of 1e-12 or when a step gains less "
            "than rounding, and values are quadratic in the remaining distance",
        ),
        Claim(
            f"{model}: the same, smallest {starts}.",
            float(search.excess.min()),
            ">=",
            -1e-12,
            "no value is below the optimum, up to rounding of a mean over up to 10⁴ samples",
        ),
    ]
    most = max(config.ratios)
    if most in config.searched:
        claims.append(
            Claim(
                f"{model}: cosine of two minority classifiers at the end of descent at R = {most}, the least over "
                f"pairs and {config.starts} starts.",
                float(search.cosines[config.searched.index(most)].min()),
                ">=",
                0.99,
                "minority collapse, as above, here from W at the end of descent",
            )
        )
    return claims
