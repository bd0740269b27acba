"""Claims on which all others rest: a run of the solver keeps what the flow conserves."""

from collections.abc import Iterable

import ulpm
from theory_experiments.harness.claim import Claim

__all__ = ["invariant_claims"]

ROUNDING = 2e-12


def invariant_claims(paths: Iterable[ulpm.Trajectory], rtol: float = 1e-6, which: str = "") -> list[Claim]:
    """A run conserves Σ_k w_k to rounding and WᵀW − HHᵀ to the tolerance, over all records and replicas of ``paths``.

    With decay both follow an exponential, to the tolerance. Paths that do not conserve one of the two are left out of
    its claim. ``rtol`` is by default that of the flow. ``which`` names the paths, where an experiment makes these
    claims for several groups.
    """
    decayed, worst = False, dict[str, float]()
    for path in paths:
        decayed = decayed or path.problem.decayed
        for name, drift in path.invariant_drift.items():
            # A replica that converged has no later records.
            worst[name] = max(worst.get(name, 0.0), float(drift[~drift.isnan()].max()))
    steps = (
        "a run takes about a hundred steps; each has a local error in WᵀW − HHᵀ of at most 2·rtol·ρ²; independent "
        "errors add up like the root of their number: 2·rtol·√100"
    )
    rounding = "Runge–Kutta methods conserve it up to rounding: 10⁴ roundings of ε = 2.2e-16"
    over = f"largest over all starts, records and runs{f' of {which}' if which else ''}"
    words = {"classifier_sum": ("Σ_k w_k", "ρ"), "balancedness": ("WᵀW − HHᵀ", "ρ²")}
    return [
        Claim(
            f"Drift of {quantity} {'from its exponential ' if decayed else ''}relative to {scale}, {over}.",
            worst[name],
            "<=",
            ROUNDING if name == "classifier_sum" and not decayed else 20 * rtol,
            rounding if name == "classifier_sum" and not decayed else steps,
        )
        for name, (quantity, scale) in words.items()
        if name in worst
    ]
