"""The claims about Hadamard starts: frozen vectors, the equation of σ, and the Lyapunov function."""

from collections.abc import Mapping

from theory_experiments.harness.claim import Claim
from theory_experiments.numerics.summaries import greatest
from theory_experiments.theorems.solved_flows.config import Config
from theory_experiments.theorems.solved_flows.singular_values import Diagonal

__all__ = ["hadamard_claims"]


def hadamard_claims(config: Config, runs: list[Diagonal], excess: Mapping[int, float]) -> list[Claim]:
    """The claims about the ``runs``, and about the ``excess`` of the mean margin by K."""
    if not runs:
        return []
    rtol = config.hadamard_rtol
    sizes = ", ".join(str(each.path.problem.num_classes) for each in runs)
    over = f"largest over all records, {config.starts} starts and K = {sizes}"
    growth = [(each.level[1:] - each.level[:-1]).amax() for each in runs]
    name = "Λ" if config.function == "lyapunov" else "log(max σ/min σ)"
    return [
        Claim(
            f"Hadamard starts: parts of W and H in other singular vectors, relative to ‖W‖ and ‖H‖, {over}.",
            greatest(each.turned for each in runs),
            "<=",
            3 * rtol,
            "the vectors are fixed, but at its limit of stability the explicit method raises rounding errors to a "
            "few times the tolerance, until its error test detects them",
        ),
        Claim(
            "Hadamard starts: relative error of σ against the solution of its own equation, and against the ray at "
            f"late times, {over}.",
            greatest(each.error() for each in runs),
            "<=",
            10 * rtol,
            "a run takes about a hundred steps; each has an error of at most rtol·ρ in W and H; independent errors "
            "add up like the root of their number",
        ),
        Claim(
            f"Hadamard starts: largest increase of {name} from one record to the next, {over}.",
            greatest(growth),
            "<=",
            (10 * rtol) ** 2,
            f"{name} never increases; relative errors of σ, up to 10·rtol, change Λ by their square where it is "
            "about 0; elsewhere it falls by far more from record to record",
        ),
        Claim(
            f"Hadamard starts: {name} at log t = 400 K, {over}.",
            greatest(each.level[-1] for each in runs),
            "<=",
            (10 * rtol) ** 2,
            "the flow ends at neural collapse, where it is 0 and quadratic in the errors of σ",
        ),
        Claim(
            "Hadamard starts: relative distance of d log Λ/dσ̄ from −2/K where all σ agree to 0.1, largest over "
            f"all starts and K = {sizes}.",
            greatest((each.slopes - 1).abs() for each in runs),
            "<=",
            0.02,
            "the next term is of relative size 0.1 at first and falls as fast as √Λ; so it changes log Λ by about "
            "0.1, while log Λ falls by more than 10",
        ),
        Claim(
            "Random σ: excess of the weighted mean of margins ⟨q⟩ over the mean of σ, relative to that, largest "
            f"over {config.points} points for each K = {', '.join(map(str, excess))}.",
            greatest(excess.values()),
            "<=",
            1e-12,
            "the theorem says ⟨q⟩ ≤ σ̄; sums of up to 31 numbers are rounded",
        ),
    ]
