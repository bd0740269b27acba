"""The claims about the landscape: what the search finds, kinds of points, and the curvature."""

import collections

import torch

from theory_experiments.harness.claim import Claim
from theory_experiments.numerics.summaries import greatest
from theory_experiments.theorems.benign_landscape.config import Config
from theory_experiments.theorems.benign_landscape.measurement import Found

__all__ = ["check"]


def check(config: Config, data: tuple[Found, ...]) -> list[Claim]:
    """The search; kinds; the curvature."""
    blocks = [found for found in data if found.of_blocks]
    searched = [found for found in data if not found.of_blocks]
    claimed = [found for found in searched if found.excess >= config.claimed_from]
    counts = collections.Counter(kind for found in claimed for kind in found.kinds)
    critical = {id(found): torch.tensor([kind != "not_critical" for kind in found.kinds]) for found in data}
    least = min(float(critical[id(found)].double().mean()) for found in claimed)
    at = [(found, critical[id(found)] & (found.multiplier.abs() > 1e-9)) for found in [*blocks, *claimed]]
    formula = [
        ((f.curvature - (f.multiplier - config.weight * f.operator_norm).clamp(max=0)) / f.operator_norm).abs()[which]
        for f, which in at
    ]
    bound = [((f.multiplier - f.operator_norm - f.curvature) / f.operator_norm)[critical[id(f)]] for f in data]
    return [
        Claim(
            "Share of starts from which the search finds a critical point: least over problems, d ≥ K, and norms",
            least,
            ">=",
            0.5,
            "a search that mostly fails would say little about the landscape; where it fails, the tangential "
            "gradient has a local minimum that is not 0",
        ),
        Claim(
            f"Block points that are not strict saddles, of {len(blocks)} with d ≥ K and norms 3, 10 and 30",
            float(sum(kind != "strict_saddle" for found in blocks for kind in found.kinds)),
            "<=",
            0.0,
            "the theorem allows none",
        ),
        Claim(
            f"Critical points found that are neither global minima nor strict saddles, of "
            f"{counts.total() - counts['not_critical']} with d ≥ K",
            float(counts["undetermined"]),
            "<=",
            0.0,
            "the theorem allows none",
        ),
        Claim(
            "Number of proven global minima or of strict saddles found with d ≥ K, whichever is smaller",
            float(min(counts["global_minimum"], counts["strict_saddle"])),
            ">=",
            1.0,
            "a search that finds only one kind would not test the claim",
        ),
        Claim(
            "Least curvature of the dense Hessian minus min(μ − ‖R‖_op, 0), divided by ‖R‖_op: largest size, d ≥ K",
            greatest(formula),
            "<=",
            1e-7,
            "an equality at critical points; the search ends at a tangential share of 1e-8 or less, and the "
            "curvature has this error up to a factor of about ten; 0 is the curvature of the normal and of "
            "rotations",
        ),
        Claim(
            "μ − ‖R‖_op minus the least curvature, divided by ‖R‖_op: largest over all critical points, d < K included",
            greatest(bound),
            "<=",
            1e-7,
            "a lower bound for any d, with the same accuracy as above",
        ),
    ]
