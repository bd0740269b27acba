"""Norms of the certificate. The two that are dual to each other in the relaxation need one K × K decomposition each.

With a ``shard`` a matrix holds the columns of this process, and the norm is that of all columns.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from ulpm.distributed import ALONE, Shard

__all__ = ["euclidean_norm", "nuclear_norm", "operator_norm"]


def operator_norm(matrix: Float[Tensor, "*batch K N"], shard: Shard = ALONE) -> Float[Tensor, "*batch"]:
    """‖A‖_op = √λ_max(A Aᵀ), for K ≤ N: squaring costs small singular values their digits, but not the largest."""
    eigenvalues: Tensor = torch.linalg.eigvalsh(shard.all_reduce(matrix @ matrix.mT))
    return eigenvalues[..., -1].sqrt()


def nuclear_norm(matrix: Float[Tensor, "*batch K N"], shard: Shard = ALONE) -> Float[Tensor, "*batch"]:
    """‖A‖_* = Σ_k σ_k(A) = ‖T‖_* with A = T Q, T triangular, for K ≤ N.

    Each σ_k is right to rounding of the largest one. A Gram matrix would lose those below √ε·σ_1, and a sum that comes
    out too small is no upper bound.
    """
    triangle = torch.linalg.qr(matrix.mT, mode="r").R
    if shard.count > 1:
        # The triangles of all, [P·K, K], have the singular values of the whole; fewer columns than K give shorter ones.
        K = matrix.shape[-2]
        square = torch.nn.functional.pad(triangle, (0, 0, 0, K - triangle.shape[-2]))
        stacked = shard.all_gather(square).movedim(0, -3).flatten(-3, -2)
        triangle = torch.linalg.qr(stacked, mode="r").R
    singular_values: Tensor = torch.linalg.svdvals(triangle)
    return singular_values.sum(-1)


def euclidean_norm(*parts: Float[Tensor, "*batch _ _"], shard: Shard = ALONE) -> Float[Tensor, "*batch"]:
    """√(‖A‖_F² + ‖B‖_F² + …), to about 1e-14: fast, as it needs no memory for the squares.

    It is the last part that a ``shard`` has some columns of; the others are the same everywhere.
    """
    norms = torch.stack([torch.linalg.vector_norm(part, dim=(-2, -1)) for part in parts])
    if shard.count > 1:
        norms = torch.cat([norms[:-1], shard.all_gather(norms[-1])])
    norm: Tensor = torch.linalg.vector_norm(norms, dim=0)
    return norm
