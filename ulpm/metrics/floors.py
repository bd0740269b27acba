"""What each metric reads at most by the precision of a state, when it would vanish in exact arithmetic."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ulpm.metrics.class_statistics import members, statistics_of
from ulpm.metrics.moments import ClassStatistics
from ulpm.metrics.precision import EPSILON

# A rounding error is at most ε/2 of an entry, ε/√12 in the mean square. Floors are a few times that, so that the error
# of the mean of few entries stays below.
_SAFETY = 4.0


def precision_floors(
    W: Float[Tensor, "*batch K d"], H: Float[Tensor, "*batch d N"], labels: Int[Tensor, " N"], dtype: torch.dtype
) -> dict[str, Float[Tensor, "*batch"]]:
    """Of each metric, the value below which it says nothing at a state of precision ``dtype``.

    With the machine epsilon ε of dtype, η² the mean of ‖h‖², m² that of ‖μ_k − μ_G‖², and W̄ = W less its mean row,

        e_H = 4 ε η/m,  e_W = 4 ε ‖W‖/‖W̄‖,  a_H = 16 √K 2⁻⁵² η/m,  a_W = 16 √K 2⁻⁵² ‖W‖/‖W̄‖

    are the rounding of the features and of the classifier, and what float64 arithmetic adds to either:

        nc1_ratio, nc1_cdnv             e_H²                  a squared deviation over a squared distance
        nc1_pinv                        e_H² q²               the same along K − 1 of d directions
        nc1_distance                    e_H                   a deviation over a distance
        nc0                             e_W + a_W             a sum of rows over their size
        nc2_*_means                     e_H q + a_H           lengths and angles see an error along the means only
        nc2_*_classifier(_centered)     e_W q_W + a_W         the same along the rows
        nc3_difference, nc3_duality     e_H + e_W + a_H + a_W      differences of unit vectors see all of an error
        nc3_product                     e_H q + e_W q_W + a_H + a_W
        nc4_mismatch                    0

    q² = max_k Σ_a μ_ak⁴/‖μ_k‖⁴ (q_W of the rows of W), between 1/d and 1, is the share of an error of independent
    entries that falls on one direction. Errors of the samples of a class are not taken to average, since equal samples
    have equal errors. A state far from the origin has larger floors, as rounding is relative to the whole.

    Args:
        W: The classifier [..., K, d], row k is w_k. Leading axes are replicas.
        H: The features [..., d, N], column i is h_i.
        labels: The classes y_i [N] in 0 … K−1, in any order. Each class has a sample.
        dtype: The format in which the state was computed, such as torch.float32.

    Returns:
        A mapping from the keys of :func:`ulpm.neural_collapse` to float64 tensors [...].

    Raises:
        ValueError: For a class without samples.
    """
    statistics, _ = statistics_of(H.double(), *members(labels, W.shape[-2]))
    W = W.double()
    q, q_W = _participation(statistics.means + statistics.origin), _participation(W.mT)
    far_W = _frobenius(W) / _frobenius(W - W.mean(-2, keepdim=True))
    return rounding_floors(feature_size(statistics), far_W, W.shape[-2], torch.finfo(dtype).eps, q, q_W)


def feature_size(statistics: ClassStatistics) -> Float[Tensor, "*batch"]:
    """η/m, the size of the features over that of the differences of their class means."""
    mean_square = statistics.squared_sizes @ statistics.shares
    centred = statistics.means - statistics.means.mean(-1, keepdim=True)
    return (mean_square / centred.square().sum(-2).mean(-1)).sqrt()


def rounding_floors(
    far_H: Float[Tensor, "*batch"],
    far_W: Float[Tensor, "*batch"],
    num_classes: int,
    epsilon: float,
    q: Float[Tensor, "*batch"] | float = 1.0,
    q_W: Float[Tensor, "*batch"] | float = 1.0,
) -> dict[str, Float[Tensor, "*batch"]]:
    """``precision_floors`` from η/m, ‖W‖/‖W̄‖ and the shares q and q_W, which are at most 1."""
    e_H, e_W = _SAFETY * epsilon * far_H, _SAFETY * epsilon * far_W
    a_H, a_W = (16 * float(num_classes**0.5) * EPSILON * far for far in (far_H, far_W))
    of_means, of_classifier = e_H * q + a_H, e_W * q_W + a_W
    floors = {
        "nc0": e_W + a_W,
        "nc1_pinv": (e_H * q).square(),
        "nc1_ratio": e_H.square(),
        "nc1_cdnv": e_H.square(),
        "nc1_distance": e_H,
        "nc3_difference": e_H + e_W + a_H + a_W,
        "nc3_duality": e_H + e_W + a_H + a_W,
        "nc3_product": of_means + of_classifier,
        "nc4_mismatch": torch.zeros_like(e_H),
    }
    for kind in ("norm", "angle", "etf"):
        floors[f"nc2_{kind}_means"] = of_means
        floors[f"nc2_{kind}_classifier"] = floors[f"nc2_{kind}_classifier_centered"] = of_classifier
    return floors


def _participation(columns: Tensor) -> Tensor:
    squares = columns.square()
    return (squares.square().sum(-2) / squares.sum(-2).square()).amax(-1).sqrt()


def _frobenius(matrix: Tensor) -> Tensor:
    return matrix.square().sum((-2, -1)).sqrt()
