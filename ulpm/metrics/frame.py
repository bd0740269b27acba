"""What metrics are made of: class means and classifier rows, and what is asked of both, computed side by side."""

import dataclasses
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ulpm.metrics.moments import ClassStatistics
from ulpm.metrics.precision import EPSILON
from ulpm.metrics.rounding import margin
from ulpm.metrics.simplex import angle_deviation, distances_to_etf, of_size_one
from ulpm.metrics.variability import distance_normalised_variance

__all__ = ["Frame", "norm_of"]

# What a row less the mean of all may be by rounding of either, as a share of the norm of all rows.
_ROUNDING = margin(EPSILON) * EPSILON / 12**0.5


@dataclasses.dataclass(frozen=True)
class Frame:
    """Class means and classifier, in float64, and what is measured of them.

    ``means`` M = [μ_k − μ_G] [..., d, K]; ``rows`` W [..., K, d] and ``centred_rows`` w_k − w̄; ``columns`` M, Wᵀ and
    the centred rows side by side [3, ..., d, K] and their ``directions``, columns of length 1. ``moderate`` says
    whether squares of products of these are numbers, ``least_square`` gives the least ‖μ_j − μ_k‖², and ``tied`` are
    the classes whose nc1_cdnv is infinite, if there are any. The rest are metrics: see ``ulpm.metrics.records``.
    """

    statistics: ClassStatistics
    means: Float[Tensor, "*batch d K"]
    rows: Float[Tensor, "*batch K d"]
    centred_rows: Float[Tensor, "*batch K d"]
    columns: Float[Tensor, " 3 *batch d K"]
    directions: Float[Tensor, " 3 *batch d K"]
    pinv_trace: Float[Tensor, "*batch"]
    trace_ratio: Float[Tensor, "*batch"]
    distance_normalised_variance: Float[Tensor, "*batch"]
    classifier_sum: Float[Tensor, "*batch"]
    variations: Float[Tensor, " 3 *batch"]
    angles: Float[Tensor, " 3 *batch"]
    distances: Float[Tensor, " 4 *batch"]
    self_difference: Float[Tensor, "*batch"]
    duality: Float[Tensor, "*batch"]
    moderate: Bool[Tensor, ""]
    least_square: Callable[[], Float[Tensor, "*batch"]]
    tied: Bool[Tensor, "*batch K"] | None = None

    @classmethod
    def of(
        cls,
        statistics: ClassStatistics,
        M: Float[Tensor, "*batch d K"],
        W: Float[Tensor, "*batch K d"],
        trace: Float[Tensor, "*batch"],
        of_any_size: bool = False,
    ) -> "Frame":
        """Everything from the statistics, the means about their centre, the rows, and nc1_pinv.

        With ``of_any_size`` it does not matter whether they are ``moderate``.
        """
        pooled_trace = statistics.within_traces @ statistics.shares
        # What is asked of several matrices is computed side by side: a small problem costs what its kernels cost.
        centered = _centered(W)
        columns = torch.stack([M, W.mT, centered.mT])
        squares = columns.square().sum(-2)
        lengths, size_squares = squares.sqrt(), squares.sum(-1)
        sizes = size_squares.sqrt()
        spreads, averages = torch.std_mean(lengths, -1)
        # A row that is the mean of all but for rounding has no centred direction.
        lengths[2].masked_fill_(lengths[2] <= _ROUNDING * sizes[1, ..., None], torch.nan)
        directions = columns / lengths[..., None, :]
        M_direction, W_direction = columns[:2] / sizes[:2, ..., None, None]
        factors = [(M.mT, M), (W, W.mT), (centered, centered.mT), (W, M)]
        if of_any_size:
            factors = [(of_size_one(A), of_size_one(B)) for A, B in factors]
        distances, moderate = distances_to_etf(factors)
        variance, least_square = distance_normalised_variance(statistics)
        return cls(
            statistics=statistics,
            means=M,
            rows=W,
            centred_rows=centered,
            columns=columns,
            directions=directions,
            pinv_trace=trace,
            trace_ratio=pooled_trace / (size_squares[0] / W.shape[-2]),
            distance_normalised_variance=variance,
            classifier_sum=norm_of(W.sum(-2), -1) / sizes[1],
            variations=spreads / averages,
            angles=angle_deviation(directions),
            distances=distances,
            self_difference=norm_of(W_direction - M_direction),
            duality=norm_of(directions[0] - directions[2], -2).mean(-1),
            moderate=moderate,
            least_square=least_square,
        )


def norm_of(value: Tensor, dim: int | tuple[int, int] = (-2, -1)) -> Tensor:
    """Frobenius norms, or those along an axis."""
    # sum() adds pairwise; vector_norm does not, and is wrong by 1e-12 for a Gram matrix of 1000 classes.
    return value.square().sum(dim).sqrt()


def _centered(W: Tensor) -> Tensor:
    """w̄_k = w_k − K⁻¹ Σ_j w_j, about the first row: of equal rows nothing is left, not even rounding."""
    about_first = W - W[..., :1, :]
    return about_first - about_first.mean(-2, keepdim=True)
