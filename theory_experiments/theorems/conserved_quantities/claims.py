"""The claims about the conserved quantities."""

from theory_experiments.harness.claim import Claim
from theory_experiments.theorems.conserved_quantities.config import Config
from theory_experiments.theorems.conserved_quantities.measurement import (
    CONTRAST,
    NAMES,
    Data,
    decay_laws,
    largest_drifts,
)

__all__ = ["check"]


def check(config: Config, data: Data) -> list[Claim]:
    """Both drifts of every run."""
    over = f"over {config.starts} starts, all records and {len(data.paths)} problems"
    steps = (
        "a run takes about a hundred steps, each with a local error in B of at most 2·rtol·ρ², and independent errors"
    )
    rounding = "every method of Runge and Kutta keeps it but for rounding: 10⁴ roundings of ε = 2.2e-16 come to 2e-12"
    balancedness, total = (max(largest_drifts(path)[name] for path in data.paths) for name in NAMES)
    plain = {name: float(values.max()) for name, values in data.plain.items()}
    early = f"over {config.starts} starts and all records"
    return [
        Claim(
            f"Drift of Σ_k w_k relative to ρ, to t = 10^{config.log10_time:g}, largest {over}.",
            total,
            "<=",
            2e-12,
            rounding,
        ),
        Claim(
            f"Drift of WᵀW − HHᵀ relative to ρ², to t = 10^{config.log10_time:g}, largest {over}.",
            balancedness,
            "<=",
            20 * config.rtol,
            f"{steps} grow like the root of their number: 2·rtol·√100",
        ),
        Claim(
            "The drift of WᵀW − HHᵀ at a hundredth of the tolerance, divided by that at the tolerance itself.",
            data.ratio,
            "<=",
            0.1,
            "an error of the method falls in proportion to rtol, to 0.01 (a factor of 10 is left for the choice of "
            "steps); a drift of the flow itself would stay, at 1",
        ),
        Claim(
            f"Drift of Σ_k w_k relative to ρ in gradient descent with rate 0.05 and momentum 0.3, largest {early}.",
            data.descent_sum,
            "<=",
            2e-12,
            rounding.replace("every method of Runge and Kutta", "every step of gradient descent"),
        ),
        Claim(
            f"Change of WᵀW − HHᵀ relative to its norm in the plain flow to t = {config.plain_time:g}, "
            f"largest {early}.",
            plain["balancedness"],
            "<=",
            1e-5,
            "the classical method errs by (hΛ)⁵/120 a step, and the largest eigenvalue Λ of ∇²L, at most "
            "‖R‖_op + ½(‖W‖² + ‖H‖²)_op, is about 5 at these sizes: with h = 0.01 up to t = 20 that adds up to 5e-6",
        ),
        Claim(
            f"Change of Σ_k w_k relative to its norm in the plain flow to t = {config.plain_time:g}, largest {early}.",
            plain["classifier_sum"],
            "<=",
            1e-11,
            "rounding, as above, of a sum that may be a few times smaller than ρ",
        ),
        Claim(
            f"Distance of the change of WᵀW − HHᵀ from 1 − e^(−2λt), of that of Σ_k w_k from 1 − e^(−λt), in the plain "
            f"flow with weight decay λ = {CONTRAST:g}, relative to their norms, largest {early}.",
            max(float((data.decayed[name] - law[:, None]).abs().max()) for name, law in decay_laws(data.times).items()),
            "<=",
            1e-5,
            "the law is exact, and the error of the method is that of the plain flow",
        ),
    ]
