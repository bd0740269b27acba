"""The claims about the neighbourhood of collapse: ends of searches, perturbed frames, curvatures."""

from theory_experiments.harness.claim import Claim
from theory_experiments.numerics.near_collapse import EQUAL, SECOND_ORDER, distance_share
from theory_experiments.numerics.summaries import greatest
from theory_experiments.theorems.lowest_loss.config import Config
from theory_experiments.theorems.lowest_loss.measurement import Tried

__all__ = ["NONE_LOWER", "ROUNDING", "nearby_claims", "searched_margins"]

ROUNDING = "log L has the size of q, and its terms have thousands of roundings of 1e-16"
NONE_LOWER = f"the theorem allows no lower direction at any norm, up to rounding: {ROUNDING}"


def nearby_claims(config: Config, data: tuple[Tried, ...]) -> list[Claim]:
    """Searches end at collapse or above, and the excess near collapse has the curvature of the closed form."""
    everything = [each for tried in data for each in tried.near]
    ends = [each for each in everything if each.kind == "ends"]
    curvatures = [curved for tried in data for curved in tried.curvatures]
    at = f"over {len(data)} problems and {searched_margins(config)}"
    third_order = (
        "the third order changes it by about q·distance, at most 2e-2 here, as only points with q·(log L − log "
        f"L_NC) ≤ {SECOND_ORDER:g} count"
    )
    return [
        Claim(
            "(log L − log L_NC)/(1 + q) at the ends of searches on the sphere: least of "
            f"{sum(len(each.excess) for each in ends)}, {at}",
            -greatest(-each.excess / (1 + each.q) for each in ends),
            ">=",
            -EQUAL,
            NONE_LOWER,
        ),
        Claim(
            f"Share of searches that end within 1e-8·(1 + q) of log L_NC: least {at}",
            -greatest(-(each.excess <= 1e-8 * (1 + each.q)).double().mean() for each in ends),
            ">=",
            0.5,
            "a search that mostly stops above collapse has little chance to find a lower point",
        ),
        Claim(
            "Distance from collapse divided by (excess/(½ρ²·least curvature))^(1/2): largest over ends of searches "
            "and random perturbations of small excess",
            greatest(distance_share(each) for each in everything if each.kind != "softest"),
            "<=",
            1.05,
            f"only collapse attains the minimum: at most 1 to second order; {third_order}",
        ),
        Claim(
            "Distance from collapse divided by (excess/(½ρ²·least curvature))^(1/2), minus 1: largest size over "
            "perturbations along the softest direction, of small excess",
            greatest((distance_share(each) - 1).abs() for each in everything if each.kind == "softest"),
            "<=",
            0.05,
            f"an equality to second order; {third_order}",
        ),
        Claim(
            f"Number of zero curvatures at collapse minus that of rotations of feature space: largest size {at}",
            greatest(abs(curved.surplus) for curved in curvatures),
            "<=",
            0.0,
            "an equality: near collapse only its rotations have the same loss",
        ),
        Claim(
            f"Least other curvature of log L at collapse divided by min(1, 2q/K) μ/L: least {at}",
            -greatest(-curved.share for curved in curvatures),
            ">=",
            1 - 1e-9,
            "an equality, except for K = 3 and 2q < K, where it is a lower bound; eigenvalues have an error of "
            "1e-12 of the largest, which is less than 1e3 times as large",
        ),
    ]


def searched_margins(config: Config) -> str:
    """The margins of the searches, in words."""
    return f"q = {', '.join(f'{q:g}' for q in config.searched)}"
