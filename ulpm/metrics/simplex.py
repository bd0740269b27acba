"""How far vectors are from a simplex equiangular tight frame, in angles and in their Gram matrix."""

import functools
from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ulpm.metrics.pairs import angle_sums
from ulpm.metrics.tiles import many, tiles

# Below this share of K − 1 dimensions no product is close to E.
_LOW_RANK = 0.9

Products = Sequence[tuple[Float[Tensor, "*batch K d"], Float[Tensor, "*batch d K"]]]


def angle_deviation(directions: Float[Tensor, "*batch d K"]) -> Float[Tensor, "*batch"]:
    """The mean over j ≠ k of abs(⟨u_j, u_k⟩ + 1/(K−1)), of columns of length 1."""
    K, transposed = directions.shape[-1], directions.mT
    if many(K):
        each = [angle_sums(one).sum() for one in directions.reshape(-1, *directions.shape[-2:])]
        return torch.stack(each).reshape(directions.shape[:-2]) / (K * (K - 1))
    parts = tiles(K, directions.shape[:-2].numel() * K)

    def deviations(rows: slice) -> Tensor:
        chosen = transposed if len(parts) == 1 else transposed[..., rows, :]
        block: Tensor = (chosen @ directions + 1 / (K - 1)).abs()
        block.diagonal(rows.start, -2, -1).fill_(0.0)
        return block.sum((-2, -1))

    mean: Tensor = _total(map(deviations, parts)) / (K * (K - 1))
    return mean


def distances_to_etf(products: Products) -> tuple[Float[Tensor, "..."], Bool[Tensor, ""]]:
    """‖G/‖G‖ − E‖ of each product G = A B, stacked in front of the batch, and whether all sizes were moderate.

    E is the Gram matrix of a simplex equiangular tight frame with ‖E‖ = 1. ‖G‖ has fourth powers of entries: where it
    may have over- or underflown, take factors ``of_size_one``.
    """
    K, d = products[0][0].shape[-2:]
    if many(K) and d <= _LOW_RANK * (K - 1):
        found = torch.stack([_low_rank_distance(of_size_one(A), of_size_one(B)) for A, B in products])
        return found, torch.ones((), dtype=torch.bool, device=found.device)
    grams = _Grams(products)
    norms = grams.norms()

    def squares(rows: slice) -> Tensor:
        difference = grams(rows) / norms[..., None, None] - _etf(rows.start, rows.stop, K, norms.device)
        return difference.square_().sum((-2, -1))

    return _total(map(squares, grams.parts)).sqrt(), (norms.clamp(1e-100, 1e100) == norms).all()


def of_size_one(matrix: Float[Tensor, "*batch m n"]) -> Float[Tensor, "*batch m n"]:
    """The matrix times the power of two that brings its largest entry to [1/2, 1); a zero matrix stays."""
    exponent = torch.frexp(matrix.abs().amax((-2, -1), keepdim=True)).exponent
    # In two steps, as one factor of 2^1074 is beyond float64.
    half = exponent // 2
    scaled: Tensor = torch.ldexp(torch.ldexp(matrix, -half), half - exponent)
    return scaled


def _low_rank_distance(A: Tensor, B: Tensor) -> Tensor:
    """‖G/‖G‖ − E‖ = √(2 − 2⟨G, E⟩/‖G‖) of G = A B of rank d, with ‖G‖² = ⟨AᵀA, BBᵀ⟩ from d × d tables.

    Nothing cancels: ⟨G, E⟩/‖G‖ is at most √(d/(K−1)), as E has K − 1 equal eigenvalues.
    """
    K = A.shape[-2]
    norm = ((A.mT @ A) * (B @ B.mT)).sum((-2, -1)).sqrt()
    trace = (A * B.mT).sum((-2, -1)) - (A.sum(-2) * B.sum(-1)).sum(-1) / K
    return (2 - 2 * trace / (norm * float((K - 1) ** 0.5))).sqrt()


@functools.lru_cache(maxsize=1)  # the records of a run ask for the same one again and again
def _etf(start: int, stop: int, K: int, device: torch.device) -> Tensor:
    """These rows of E, in float64."""
    etf = torch.zeros(stop - start, K, dtype=torch.float64, device=device) - 1 / K
    etf.diagonal(start).add_(1.0)
    return etf / float((K - 1) ** 0.5)


class _Grams:
    """The products in parts of a bounded number of rows, which are kept if there is one part only."""

    def __init__(self, products: Products) -> None:
        A = products[0][0]
        self.parts = tiles(A.shape[-2], len(products) * A.shape[:-1].numel())
        self._products = products
        self._whole = self._stacked(self.parts[0]) if len(self.parts) == 1 else None

    def __call__(self, rows: slice) -> Tensor:
        return self._stacked(rows) if self._whole is None else self._whole

    def norms(self) -> Tensor:
        return _total(self(rows).square().sum((-2, -1)) for rows in self.parts).sqrt()

    def _stacked(self, rows: slice) -> Tensor:
        if len(self.parts) == 1:
            return torch.stack([A @ B for A, B in self._products])
        return torch.stack([A[..., rows, :] @ B for A, B in self._products])


def _total(parts: Iterable[Tensor]) -> Tensor:
    total: Tensor = functools.reduce(torch.add, parts)
    return total
