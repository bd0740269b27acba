"""The metrics of variability within classes that need more than a trace: nc1_pinv and nc1_cdnv."""

import dataclasses
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ulpm._blocks import LARGEST
from ulpm.metrics.moments import ClassStatistics
from ulpm.metrics.pairs import variance_sums
from ulpm.metrics.rounding import LARGEST_SHARE, rounding_of_means, rounding_of_samples, rounding_of_spread
from ulpm.metrics.tiles import many, tiles

# Of exact numbers, singular values of M below this share of the largest are the rounding of M itself.
_RELATIVE_CUT = 1e-12


def plain_pinv_trace(
    M: Float[Tensor, "*batch d K"], weights: Float[Tensor, " K"], statistics: ClassStatistics
) -> tuple[Float[Tensor, "*batch"], Bool[Tensor, ""]]:
    """tr(Σ_W Σ_B†)/K if all directions of M are real whatever the precision of the features, and whether they are.

    Where d ≥ K − 1 it is tr(X Σ_W Xᵀ) with X = (MB)⁺: B is an orthonormal basis of the complement of the weights of
    μ_G, on which M vanishes. By M B = QR, Xᵀ = Q R⁻ᵀ. Elsewhere it is found by singular values.
    """
    largest = LARGEST_SHARE * statistics.squared_sizes.sum(-1).sqrt()
    if narrow(M):
        U, S = _singular(M)
        return _truncated(U, S, torch.zeros_like(largest), statistics), (largest < S[..., -1]).all()
    X_mT, _, inverse = _inverted(M, weights)
    return statistics.variance_along(X_mT).sum(-1), (largest * inverse < 1).all()


def pinv_trace(
    M: Float[Tensor, "*batch d K"],
    weights: Float[Tensor, " K"],
    statistics: ClassStatistics,
    floor: Float[Tensor, "*batch"],
) -> Float[Tensor, "*batch"]:
    """tr(Σ_W Σ_B†)/K without the directions that rounding, the ``floor``, explains; NaN where none is left.

    As ``plain_pinv_trace``, but by singular values wherever one of them may have to be left out.
    """
    if narrow(M):
        return _truncated(*_singular(M), floor, statistics)
    X_mT, R, inverse = _inverted(M, weights)
    regular = (_norm(R) * inverse < 0.01 / _RELATIVE_CUT) & (floor * inverse < 1)
    trace = statistics.variance_along(X_mT).sum(-1)
    if bool(regular.all()):
        return trace
    return torch.where(regular, trace, _truncated(*_singular(M), floor, statistics))


def narrow(M: Float[Tensor, "*batch d K"]) -> bool:
    """Whether there are fewer dimensions than K − 1, so that means may differ less than all singular values say."""
    return M.shape[-2] < M.shape[-1] - 1


def _inverted(M: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Xᵀ and R, and ‖X‖ = ‖R⁻¹‖: 1/‖X‖ is a lower bound of the singular values of M."""
    basis = torch.linalg.qr(weights[:, None], mode="complete").Q[:, 1:]
    Q, R = torch.linalg.qr(M @ basis)
    X_mT = torch.linalg.solve_triangular(R.mT, Q, upper=False, left=False)
    return X_mT, R, _norm(X_mT)


def pinv_columns(M: Float[Tensor, "*batch d K"], statistics: ClassStatistics) -> Float[Tensor, "*batch d r"]:
    """X with Σ_B† = K X Xᵀ: singular vectors of M over their singular values, NaN where none is left."""
    U, S = _singular(M)
    kept = torch.maximum(_RELATIVE_CUT * S[..., :1], rounding_of_means(statistics)[..., None]) < S
    columns = torch.where(kept[..., None, :], U / S[..., None, :], 0.0)
    return torch.where(kept.any(-1)[..., None, None], columns, torch.nan)


def _singular(M: Tensor) -> tuple[Tensor, Tensor]:
    """U [..., d, r] and S [..., r] with M = U S Vᵀ, whose rank r is at most K − 1."""
    rank = min(M.shape[-1] - 1, M.shape[-2])
    U, S, _ = torch.linalg.svd(M, full_matrices=False)
    return U[..., :rank], S[..., :rank]


def _truncated(U: Tensor, S: Tensor, floor: Tensor, statistics: ClassStatistics) -> Tensor:
    """Σ_r u_rᵀ Σ_W u_r / s_r² over the singular values above the floor and the relative cut."""
    kept = torch.maximum(_RELATIVE_CUT * S[..., :1], floor[..., None]) < S
    trace = torch.where(kept, statistics.variance_along(U) / S.square(), 0.0).sum(-1)
    return torch.where(kept.any(-1), trace, torch.nan)


def with_equal_means(statistics: ClassStatistics, equal: Bool[Tensor, "*batch"]) -> ClassStatistics:
    """The same without the rounding of means that are equal, and of samples that then are so too."""
    means = torch.where(equal[..., None, None], 0.0, statistics.means)
    rounding = equal[..., None] & (statistics.within_traces <= rounding_of_samples(statistics))
    return dataclasses.replace(
        statistics, means=means, within_traces=torch.where(rounding, 0.0, statistics.within_traces)
    )


def distance_normalised_variance(
    statistics: ClassStatistics,
) -> tuple[Float[Tensor, "*batch"], Callable[[], Float[Tensor, "*batch"]]]:
    """The mean over j < k of (v_j + v_k) / (2‖μ_j − μ_k‖²), and what gives the least of the squared distances."""
    means, v = statistics.means.mT, statistics.within_traces
    K = means.shape[-2]
    if many(K):
        replicas = zip(means.reshape(-1, *means.shape[-2:]), v.reshape(-1, K), strict=True)
        found = [variance_sums(one.mT, variances) for one, variances in replicas]
        of_pairs = torch.stack([sums.sum() for sums, _ in found]).reshape(v.shape[:-1])
        return of_pairs / (K * (K - 1)), lambda: torch.stack([nearest for _, nearest in found]).reshape(v.shape[:-1])
    if means.shape[:-1].numel() * K <= LARGEST:
        squares = _distances(means, means).square_()
        squares.diagonal(0, -2, -1).fill_(torch.inf)
        # Of both orders of a pair, so that the 2 of the formula is gone.
        mean: Tensor = ((v[..., None] + v[..., None, :]) / squares).sum((-2, -1)) / (2 * K * (K - 1))
        return mean, lambda: squares.amin((-2, -1))
    total, least = torch.zeros_like(v[..., 0]), torch.full_like(v[..., 0], torch.inf)
    for rows in tiles(K, v.numel()):
        # The rows of this part and the classes from there on: of the block that holds both, half is counted.
        squares = _distances(means[..., rows, :], means[..., rows.start :, :]).square_()
        squares = torch.where(torch.ones_like(squares, dtype=torch.bool).triu(1), squares, torch.inf)
        total += ((v[..., rows, None] + v[..., None, rows.start :]) / (2 * squares)).sum((-2, -1))
        least = torch.minimum(least, squares.amin((-2, -1)))
    return total / (K * (K - 1) / 2), lambda: least


def tied_classes(statistics: ClassStatistics, rounding: Float[Tensor, "*batch K"]) -> Bool[Tensor, "*batch K"]:
    """Which class means are that of another class but for rounding, although the samples of the two are spread.

    ``rounding`` is ``squared_rounding``. Classes whose samples are no farther apart than rounding could make them are
    not said to be tied: a quotient of two roundings is left as it is.
    """
    means, v, grain = statistics.means.mT, statistics.within_traces, rounding_of_spread(statistics)
    tied = []
    for rows in tiles(means.shape[-2], v.numel()):
        near = _distances(means[..., rows, :], means).square_() <= rounding[..., rows, None] + rounding[..., None, :]
        near.diagonal(rows.start, -2, -1).fill_(False)
        spread = v[..., rows, None] + v[..., None, :] > grain[..., rows, None] + grain[..., None, :]
        tied.append((near & spread).any(-1))
    return torch.cat(tied, -1)


def _distances(one: Tensor, other: Tensor) -> Tensor:
    # Differences, not a Gram matrix: the latter loses the distance of two means that are close to each other.
    return torch.cdist(one, other, compute_mode="donot_use_mm_for_euclid_dist")


def _norm(value: Tensor) -> Tensor:
    return value.square().sum((-2, -1)).sqrt()
