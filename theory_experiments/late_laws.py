"""What theory says of the late flow: constants with their next terms, and the exponent of every metric in log t.

All for a flow that ends at the optimum v* of the margin problem; `rates.py` explains where each number comes from.
"""

import math
from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

import ulpm

__all__ = ["EXPONENTS", "loss_correction", "norm_correction", "quantities"]

_OF_MEANS = ("nc2_norm_means", "nc2_angle_means", "nc2_etf_means")
_OF_CLASSIFIER = ("nc2_norm_classifier", "nc2_angle_classifier", "nc2_etf_classifier", "nc3_difference")
# By kind of start: balanced counts, unequal ones, and balanced ones with Σ_k w_k = 0.
EXPONENTS: Mapping[str, Mapping[str, float]] = {
    "balanced": {
        "nc1_pinv": -3.0,
        **dict.fromkeys(("nc1_ratio", "nc1_cdnv", *_OF_MEANS, "margin deficit"), -1.0),
        **dict.fromkeys(("nc0", *_OF_CLASSIFIER, "nc3_product", "stationarity"), -0.5),
    },
    "unequal": {
        "nc1_pinv": -2.0,
        **dict.fromkeys(("nc1_ratio", "nc1_cdnv", "margin deficit", "complementarity"), -1.0),
        **dict.fromkeys(("nc0", "nc3_product", "stationarity"), -0.5),
        "nc3_difference": 0.0,
    },
    "centred": {
        "nc1_pinv": -3.0,
        **dict.fromkeys(("nc1_ratio", "nc1_cdnv", *_OF_MEANS, *_OF_CLASSIFIER, "margin deficit"), -1.0),
        "stationarity": -0.5,
    },
}


def quantities(path: ulpm.Trajectory) -> dict[str, Float[Tensor, " R *batch"]]:
    """The columns of a trajectory by name, and the margin deficit 1 − γ/γ*."""
    return {**path.columns(), "margin deficit": 1 - path.margin_ratio}


def loss_correction(path: ulpm.Trajectory, value: float) -> Float[Tensor, " R *batch"]:
    """(1 + log(v*/2) − log m − log N(K−1))/m with m = log(1/L): the next term of L·t·log t/(v*/2) − 1."""
    m = -path.log_loss
    return (1 + math.log(value / 2) - m.log() - _log_pairs(path.problem)) / m


def norm_correction(path: ulpm.Trajectory, value: float) -> Float[Tensor, " R *batch"]:
    """(log log t − log(v*/2) + log N(K−1))/log t: the next term of ρ²/(2v*·log t) − 1."""
    return (path.log_time.log() - math.log(value / 2) + _log_pairs(path.problem)) / path.log_time


def _log_pairs(problem: ulpm.Problem) -> float:
    """The entropy of equal multipliers; unequal counts, whose multipliers differ, have a little less."""
    return math.log(problem.num_samples * (problem.num_classes - 1))
