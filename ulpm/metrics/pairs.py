"""Sums over all pairs of classes, for each class: a square part of the table of pairs at a time.

A part stays in the cache of a processor, and the table is symmetric, so that one half of it is computed. Each sum
costs about what its products of matrices cost.
"""

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from ulpm._blocks import SMALL
from ulpm.metrics.tiles import tiles

__all__ = ["angle_sums", "nearest_distances", "variance_sums"]

# Squared distances below this share of the squares that cancel are computed from differences: 2^-52/1e-3 is 2e-13.
_CANCELS = 1e-3


def angle_sums(directions: Float[Tensor, "d K"]) -> Float[Tensor, " K"]:
    """Σ_{j≠k} abs(⟨u_j, u_k⟩ + 1/(K−1)) for each k, of columns of length 1."""
    K = directions.shape[-1]
    # One more coordinate adds the constant inside the product.
    raised = torch.cat([directions, directions.new_full((1, K), float((K - 1) ** -0.5))])

    def deviations(rows: slice, columns: slice) -> Tensor:
        return (raised[:, rows].mT @ raised[:, columns]).abs_()

    return _sums(K, directions, deviations)


def variance_sums(
    means: Float[Tensor, "d K"], variances: Float[Tensor, " K"]
) -> tuple[Float[Tensor, " K"], Float[Tensor, ""]]:
    """Σ_{j≠k} (v_j + v_k)/(2‖μ_j − μ_k‖²) for each k, and the least of the squared distances."""
    distances, least = _Distances(means), []

    def terms(rows: slice, columns: slice) -> Tensor:
        sums, squares = variances[rows, None] + variances[columns], distances(rows, columns)
        if rows == columns:
            squares.fill_diagonal_(torch.inf)
        least.append(squares.amin())
        return sums.div_(squares.mul_(2.0))

    return _sums(means.shape[-1], means, terms), torch.stack(least).amin()


def nearest_distances(points: Float[Tensor, "d K"]) -> Float[Tensor, " K"]:
    """min over j ≠ k of ‖x_j − x_k‖ for each k."""
    distances = _Distances(points)
    nearest = points.new_full((points.shape[-1],), torch.inf)
    for rows, columns in _parts(points.shape[-1]):
        squares = distances(rows, columns)
        if rows == columns:
            squares.fill_diagonal_(torch.inf)
        nearest[rows] = torch.minimum(nearest[rows], squares.amin(1))
        nearest[columns] = torch.minimum(nearest[columns], squares.amin(0))
    return nearest.sqrt()


class _Distances:
    """Squared distances ‖x‖² + ‖y‖² − 2⟨x, y⟩ of some points to others, from differences where these cancel."""

    def __init__(self, points: Float[Tensor, "d K"]) -> None:
        self._points = points
        centred = points - points.mean(-1, keepdim=True)
        self._squares = centred.square().sum(0)
        one = torch.ones_like(self._squares)
        self._left = torch.cat([-2 * centred, self._squares[None], one[None]])
        self._right = torch.cat([centred, one[None], self._squares[None]])

    def __call__(self, rows: slice, columns: slice) -> Float[Tensor, "m n"]:
        block: Tensor = self._left[:, rows].mT @ self._right[:, columns]
        unsure = block <= _CANCELS * (self._squares[rows].max() + self._squares[columns].max())
        if not bool(unsure.any()):
            return block
        j, k = unsure.nonzero(as_tuple=True)
        for part in tiles(len(j), len(self._points)):
            one, other = j[part] + rows.start, k[part] + columns.start
            exact = (self._points[:, one] - self._points[:, other]).square().sum(0)
            block[j[part], k[part]] = exact
        return block


def _sums(K: int, like: Tensor, table: Callable[[slice, slice], Tensor]) -> Tensor:
    """Row sums of a symmetric table without its diagonal."""
    total = like.new_zeros(K)
    for rows, columns in _parts(K):
        block = table(rows, columns)
        if rows == columns:
            block.fill_diagonal_(0.0)
        else:
            total[columns] += block.sum(0)
        total[rows] += block.sum(1)
    return total


def _parts(K: int) -> Iterator[tuple[slice, slice]]:
    """Square parts of the diagonal and above it."""
    step = max(1, int(SMALL**0.5))
    slices = [slice(first, min(first + step, K)) for first in range(0, K, step)]
    for i, rows in enumerate(slices):
        for columns in slices[i:]:
            yield rows, columns
