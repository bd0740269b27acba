"""The claims about rates: invariants, constants, and each exponent."""

import ulpm
from theory_experiments.harness.claim import Claim
from theory_experiments.numerics.invariants import invariant_claims
from theory_experiments.numerics.late_laws import limits
from theory_experiments.theorems.rates.config import SHARP_RANGE, Config
from theory_experiments.theorems.rates.constants import constants, optimum
from theory_experiments.theorems.rates.exponents import claimed_exponents, generic, measured_exponents, sharp_exponents
from theory_experiments.theorems.rates.measurement import Data
from ulpm.support import law_exponents

__all__ = ["check"]


def check(config: Config, data: Data) -> list[Claim]:
    """The invariants, the constants, and each exponent."""
    claims = invariant_claims([*data.paths.values(), *data.sharp], config.rtol)
    for kind in [kind for kind in data.paths if kind != "centred"]:
        path = data.paths[kind]
        for name, deviation, correction in constants(config, path):
            end, frozen = float(path.log_time[-1].min()), float(path.squared_norm[0].max())
            claims.append(
                Claim(
                    f"{kind.capitalize()}: relative distance of {name} at log t = {end:.4g}, largest over "
                    f"{config.starts} starts.",
                    float(deviation[-1].abs().max()),
                    "<=",
                    float(correction[-1].abs().max()) + frozen / (2 * optimum(config, path) * end),
                    "the next term of the expansion in 1/log t, and the contribution of frozen parts to ρ², at "
                    "most ρ(0)²: relative to the whole ρ(0)²/(2v*·log t)",
                )
            )
    for kind, intervals in measured_exponents(config, data).items():
        for name, predicted in claimed_exponents(config, kind, data.paths[kind]).items():
            claims.append(
                Claim(
                    f"{kind.capitalize()}: exponent of `{name}` in log t, {intervals[name]} (95%, {config.starts} "
                    f"starts): distance from {predicted:g} to the far end of the interval.",
                    intervals[name].distance(predicted),
                    "<=",
                    config.fit_from**-0.5,
                    "the next term of each expansion is smaller by at least (log t)^(−1/2); it changes the slope "
                    f"by about half of that where the fit starts, at log t = {config.fit_from:g}",
                )
            )
    for path in data.sharp:
        claims += _sharp_claims(config, path)
    return claims


def _sharp_claims(config: Config, path: ulpm.Trajectory) -> list[Claim]:
    """Exponents to 0.01, and the limits that follow from them."""
    problem, low_high = path.problem, f"log t = {SHARP_RANGE[0]:g} … {SHARP_RANGE[1]:g}"
    K, n, d = problem.num_classes, problem.class_counts[0], problem.feature_dim
    size, claims = f"K = {K}, n = {n}, d = {d}", []
    starts = f"{int(generic(path).sum())} of {config.sharp_starts} starts"
    for name, interval in sharp_exponents(path).items():
        predicted = -1.0 if config.one_power else law_exponents(problem)[name]
        claims.append(
            Claim(
                f"{size}: exponent of `{name}` over {low_high}, {interval} (95%, {starts}): distance from "
                f"{predicted:g} to the far end of the interval.",
                interval.distance(predicted),
                "<=",
                0.01,
                "next terms at log t = 10⁴, the middle of the range: log log t/log t = 0.001, and where Σ_k w_k = "
                "K·w̄ enters ½‖w̄‖²/(‖P_S w̄‖‖w_k‖), with S the classifier's span; starts where this is above "
                "0.01, as w̄ is almost orthogonal to S, are left out",
            )
        )
    end = path.log_time[-1]
    for name, limit in limits(path).items():
        reached = path.metrics[name][-1] * end ** -law_exponents(problem)[name]
        kept = generic(path)
        claims.append(
            Claim(
                f"{size}: `{name}`·(log t)^{-law_exponents(problem)[name]:g} divided by its predicted limit, "
                f"distance from 1 at log t = {SHARP_RANGE[1]:g}, largest over {starts}.",
                float((reached / limit - 1)[kept].abs().max()),
                "<=",
                3 * SHARP_RANGE[1] ** -0.5,
                "the next term is smaller by (log t)^(−1/2), with a reserve of 3",
            )
        )
    return claims
