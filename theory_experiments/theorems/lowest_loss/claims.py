"""The claims about the lowest loss: collapse itself, then families, searches and the second order."""

import torch

from theory_experiments.harness.claim import Claim
from theory_experiments.numerics import collapse_on_sphere
from theory_experiments.numerics.near_collapse import EQUAL
from theory_experiments.numerics.summaries import greatest
from theory_experiments.theorems.lowest_loss.config import Config
from theory_experiments.theorems.lowest_loss.measurement import Tried
from theory_experiments.theorems.lowest_loss.nearby_claims import NONE_LOWER, ROUNDING, nearby_claims, searched_margins

__all__ = ["check"]


def check(config: Config, data: tuple[Tried, ...]) -> list[Claim]:
    """Collapse itself; then families, searches and the second order."""
    return [*_claims_about_collapse(config, data), *_claims_about_families(config, data), *nearby_claims(config, data)]


def _claims_about_collapse(config: Config, data: tuple[Tried, ...]) -> list[Claim]:
    scale = 1 + torch.tensor(config.margins, dtype=torch.float64)
    closed = [[collapse_on_sphere.log_loss(tried.problem, q) for q in config.margins] for tried in data]
    off = [
        (tried.log_losses - torch.tensor(values, dtype=torch.float64)).abs() / scale
        for tried, values in zip(data, closed, strict=True)
    ]
    kinds = [kind for tried in data for kind in tried.kinds]
    return [
        Claim(
            f"log L of collapse minus log(N log(1 + (K − 1)e^(−q))), divided by 1 + q: largest {_norms(config)}",
            greatest(off),
            "<=",
            EQUAL,
            f"an equality up to rounding: {ROUNDING}",
        ),
        Claim(
            f"log L − log L_NC of collapse in rotated coordinates, divided by 1 + q: largest size {_norms(config)}",
            greatest(tried.turned.abs() / scale[:, None] for tried in data),
            "<=",
            EQUAL,
            f"an equality up to rounding: {ROUNDING}",
        ),
        Claim(
            f"‖R‖_op/μ − 1 at collapse: largest size over {len(data)} problems and {searched_margins(config)}",
            greatest(abs(curved.certificate) for tried in data for curved in tried.curvatures),
            "<=",
            EQUAL,
            "an equality, which proves that no point of the sphere has a lower loss: L − min L ≤ ½ρ²(‖R‖_op − μ)",
        ),
        Claim(
            f"Collapsed states that ulpm.sphere_critical_point does not call global minima, of {len(kinds)}",
            float(sum(kind != "global_minimum" for kind in kinds)),
            "<=",
            0.0,
            "the theorem allows none",
        ),
    ]


def _claims_about_families(config: Config, data: tuple[Tried, ...]) -> list[Claim]:
    scale = 1 + torch.tensor(config.margins, dtype=torch.float64)[:, None]
    compared = [each for tried in data for each in tried.compared if len(each.share)]
    number = sum(len(each.share) for each in compared)
    directions = f"over {number} directions of {len(data)} problems"
    between = config.margins[-1] - config.margins[-2]
    # The slope against ρ² over γ* is the slope against q, as γ*ρ² = q.
    slopes = [(each.excess[-1] - each.excess[-2]) / between for each in compared]
    return [
        Claim(
            "Number of separating directions compared, for each start and problem",
            number / (config.starts * len(data)),
            ">=",
            50.0,
            "each start adds 40 records of a flow and some 70 members of other families; if most of these did not "
            "separate the samples, the comparison would say little",
        ),
        Claim(
            f"(log L − log L_NC)/(1 + q): least {directions} {_norms(config)}",
            -greatest(-each.excess / scale for each in compared),
            ">=",
            -EQUAL,
            NONE_LOWER,
        ),
        Claim(
            f"log(1 + μD/L_NC) minus (log L − log L_NC), divided by 1 + q: largest {directions} {_norms(config)}",
            greatest((each.bound - each.excess) / scale for each in compared),
            "<=",
            EQUAL,
            f"convexity gives this bound at every point and norm, up to rounding: {ROUNDING}",
        ),
        Claim(
            f"Normalised margin γ divided by γ* = 1/(2(K − 1)√n): largest {directions}",
            greatest(each.share for each in compared),
            "<=",
            1 + 1e-12,
            "the theorem allows no direction with a larger margin than collapse; thousands of roundings are allowed",
        ),
        Claim(
            f"Slope of log L − log L_NC against ρ², divided by γ*, minus (1 − γ/γ*): largest size {directions}",
            greatest((slope - (1 - each.share)).abs() for slope, each in zip(slopes, compared, strict=True)),
            "<=",
            7.0 / between,
            "log L + γρ² lies between log log 2 and log(N(K − 1)) at every norm, an interval of less than 7 for "
            "these sizes; the slope is taken between the two largest norms",
        ),
    ]


def _norms(config: Config) -> str:
    return f"at {len(config.margins)} norms with q from {min(config.margins):g} to {max(config.margins):g}"
