"""The claims about Hadamard starts: frozen vectors, the equation of σ, and the Lyapunov function."""

from collections.abc import Mapping

from theory_experiments.harness.claim import Claim
from theory_experiments.numerics.summaries import greatest
from theory_experiments.theorems.solved_flows.config import Config
from theory_experiments.theorems.solved_flows.singular_values import Diagonal

__all__ = ["hadamard_claims"]


def hadamard_claims(config: Config, runs: list[Diagonal], excess: Mapping[int, float]) -> list[Claim]:
    """Of the ``runs``, and the ``excess`` of the mean margin by K."""
    if not runs:
        return []
    rtol = config.hadamard_rtol
    sizes = ", ".join(str(each.path.problem.num_classes) for each in runs)
    over = f"largest over all records, {config.starts} starts and K = {sizes}"
    growth = [(each.level[1:] - each.level[:-1]).amax() for each in runs]
    name = "Λ" if config.function == "lyapunov" else "log(max σ/min σ)"
    return [
        Claim(
            f"Hadamard starts: what W and H have of other singular vectors, relative to ‖W‖ and ‖H‖, {over}.",
            greatest(each.turned for each in runs),
            "<=",
            3 * rtol,
            "the vectors are frozen, but at its limit of stability the explicit method raises rounding errors until "
            "its error test sees them: to a few times the tolerance",
        ),
        Claim(
            f"Hadamard starts: relative error of σ against their own equation, and against the ray at late times, "
            f"{over}.",
            greatest(each.error() for each in runs),
            "<=",
            10 * rtol,
            "a run takes about a hundred steps, each with an error of at most rtol·ρ in W and H, and independent "
            "errors grow like the root of their number",
        ),
        Claim(
            f"Hadamard starts: largest increase of {name} from one record to the next, {over}.",
            greatest(growth),
            "<=",
            (10 * rtol) ** 2,
            f"{name} never increases. Relative errors of σ, up to 10·rtol, move Λ by their square where it is about 0; "
            "where it is not, it falls by far more from record to record",
        ),
        Claim(
            f"Hadamard starts: {name} at log t = 400 K, {over}.",
            greatest(each.level[-1] for each in runs),
            "<=",
            (10 * rtol) ** 2,
            "the flow ends at neural collapse, where it is 0 and quadratic in the errors of σ",
        ),
        Claim(
            "Hadamard starts: relative distance of d log Λ/dσ̄ from −2/K where all σ agree to 0.1, largest over all "
            f"starts and K = {sizes}.",
            greatest((each.slopes - 1).abs() for each in runs),
            "<=",
            0.02,
            "the next term is of relative size 0.1 where that begins and falls as fast as √Λ, so that it moves log Λ "
            "by about 0.1 while that falls by more than 10",
        ),
        Claim(
            f"Random σ: excess of the weighted mean of margins ⟨q⟩ over the mean of σ, relative to that, largest over "
            f"{config.points} points for each K = {', '.join(map(str, excess))}.",
            greatest(excess.values()),
            "<=",
            1e-12,
            "⟨q⟩ ≤ σ̄ is the theorem; sums of up to 31 numbers are rounded",
        ),
    ]
