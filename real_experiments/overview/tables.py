"""Numbers as the page shows them."""

import math
from collections.abc import Sequence

import numpy as np

from real_experiments.pair_result import PairResult

__all__ = ["CELLS", "count", "factor", "named", "spread"]


CELLS = {
    "nc2_norm_means": "norms: means",
    "nc2_norm_classifier_centered": "norms: classifier",
    "nc1_distance": "within-class",
    "nc2_angle_means": "angles: means",
    "nc2_angle_classifier_centered": "angles: classifier",
    "nc3_duality": "self-duality",
}


def named(result: PairResult) -> str:
    split = " (test split)" if result.recipe.split == "test" else ""
    return result.name + split


def spread(values: Sequence[float]) -> str:
    known = np.array([value for value in values if math.isfinite(value)])
    if not len(known):
        return "–"
    deviation = f" ± {known.std(ddof=1):.2g}" if len(known) > 1 else ""
    return f"×{known.mean():.3g}{deviation}"


def count(number: int, noun: str) -> str:
    return f"{number} {noun}" + "s" * (number != 1)


def factor(value: float) -> str:
    return f"×{value:.3g}" if math.isfinite(value) else "–"
