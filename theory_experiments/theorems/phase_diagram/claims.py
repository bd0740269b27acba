"""The claims of the phase diagram: sides of the line, and margins."""

import math

from theory_experiments.harness.claim import Claim
from theory_experiments.numerics.decayed_ends import closed_margin, end_error
from theory_experiments.numerics.invariants import invariant_claims
from theory_experiments.numerics.summaries import greatest
from theory_experiments.theorems.phase_diagram.config import Config
from theory_experiments.theorems.phase_diagram.measurement import ZERO, Data

__all__ = ["check"]


def check(config: Config, data: Data) -> list[Claim]:
    """Exponential laws of the invariants, the sides of the line, and the margins."""
    over = f"{len(data.every)} points from {math.ceil(config.starts / 8)} starts each"
    misplaced = 0
    for point in data.every:
        K, n = point.setting.classes, point.setting.samples
        zero = K * math.sqrt(n**config.count_power * point.product) >= config.line
        misplaced += int(((point.margins < ZERO) != zero).sum())
    return [
        *invariant_claims((point.path for point in data.every), config.rtol),
        Claim(
            "Flows on the wrong side of the line: a classifier where zero is predicted, or zero where a classifier "
            f"is, of {over}.",
            misplaced,
            "<=",
            0,
            "the line is exact, and no point is within 5% of it",
        ),
        Claim(
            "Error of any logit at the end, and of the norms of W and H relative to the closed form, or to ρ(0)² "
            f"where that is zero, largest over {over}.",
            greatest(end_error(point.path, closed_margin(point.path.problem)) for point in data.every),
            "<=",
            config.rtol,
            "a flow has converged when its remaining distance is below the tolerance of the run",
        ),
    ]
