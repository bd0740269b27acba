"""The claims that license all others: a run by the solver keeps what the flow conserves."""

from collections.abc import Iterable

import ulpm
from theory_experiments.claim import Claim

__all__ = ["invariant_claims"]

ROUNDING = 2e-12


def invariant_claims(paths: Iterable[ulpm.Trajectory], rtol: float) -> list[Claim]:
    """Σ_k w_k is kept to rounding and WᵀW − HHᵀ to the tolerance, over all records and replicas of ``paths``."""
    drifts = [path.invariant_drift for path in paths]
    worst = {name: max(float(drift[name].max()) for drift in drifts) for name in ("classifier_sum", "balancedness")}
    return [
        Claim(
            "Drift of Σ_k w_k relative to ρ, largest over all starts, records and runs.",
            worst["classifier_sum"],
            "<=",
            ROUNDING,
            "every method of Runge and Kutta keeps it but for rounding: 10⁴ roundings of ε = 2.2e-16",
        ),
        Claim(
            "Drift of WᵀW − HHᵀ relative to ρ², largest over all starts, records and runs.",
            worst["balancedness"],
            "<=",
            20 * rtol,
            "a run takes about a hundred steps, each with a local error in WᵀW − HHᵀ of at most 2·rtol·ρ², and "
            "independent errors grow like the root of their number: 2·rtol·√100",
        ),
    ]
