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
        "a run takes about a hundred steps; each has a local error in WᵀW − HHᵀ of at most 2·rtol·ρ²; independent "
        "errors"
    )
    rounding = "Runge–Kutta methods conserve it up to rounding: 10⁴ roundings of ε = 2.2e-16 add up to 2e-12"
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
            f"{steps} add up like the root of their number: 2·rtol·√100",
        ),
        Claim(
            "Drift of WᵀW − HHᵀ at a hundredth of the tolerance, divided by the drift at the tolerance itself.",
            data.ratio,
            "<=",
            0.1,
            "an error of the method is proportional to rtol, so the ratio is 0.01; a factor of 10 is left for the "
            "choice of steps; if the flow itself drifted, the ratio would be 1",
        ),
        Claim(
            f"Drift of Σ_k w_k relative to ρ in gradient descent with rate 0.05 and momentum 0.3, largest {early}.",
            data.descent_sum,
            "<=",
            2e-12,
            rounding.replace("Runge–Kutta methods conserve", "steps of gradient descent conserve"),
        ),
        Claim(
            f"Change of WᵀW − HHᵀ relative to its norm in the plain flow to t = {config.plain_time:g}, "
            f"largest {early}.",
            plain["balancedness"],
            "<=",
            1e-5,
            "the classical method has an error of (hΛ)⁵/120 a step; Λ, the largest eigenvalue of ∇²L, is at most "
            "‖R‖_op + ½(‖W‖² + ‖H‖²)_op, about 5 at these sizes; with h = 0.01 up to t = 20 the errors add up to "
            "5e-6",
        ),
        Claim(
            f"Change of Σ_k w_k relative to its norm in the plain flow to t = {config.plain_time:g}, largest {early}.",
            plain["classifier_sum"],
            "<=",
            1e-11,
            "rounding, of a sum that may be a few times smaller than ρ",
        ),
        Claim(
            "Difference between the change of WᵀW − HHᵀ and 1 − e^(−2λt), and between that of Σ_k w_k and 1 − "
            f"e^(−λt), relative to their norms, in the plain flow with weight decay λ = {CONTRAST:g}, largest "
            f"{early}.",
            max(float((data.decayed[name] - law[:, None]).abs().max()) for name, law in decay_laws(data.times).items()),
            "<=",
            1e-5,
            "the law is exact; the method has the error of the plain flow",
        ),
    ]
