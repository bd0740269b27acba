"""Norms of the certificate. The two that are dual to each other in the relaxation need one K × K decomposition each."""

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["euclidean_norm", "nuclear_norm", "operator_norm"]


def operator_norm(matrix: Float[Tensor, "*batch K N"]) -> Float[Tensor, "*batch"]:
    """‖A‖_op = √λ_max(A Aᵀ), for K ≤ N: squaring costs small singular values their digits, but not the largest."""
    eigenvalues: Tensor = torch.linalg.eigvalsh(matrix @ matrix.mT)
    return eigenvalues[..., -1].sqrt()


def nuclear_norm(matrix: Float[Tensor, "*batch K N"]) -> Float[Tensor, "*batch"]:
    """‖A‖_* = Σ_k σ_k(A) = ‖T‖_* with A = T Q, T triangular, for K ≤ N.

    Each σ_k is right to rounding of the largest one. A Gram matrix would lose those below √ε·σ_1, and a sum that comes
    out too small is no upper bound.
    """
    triangle = torch.linalg.qr(matrix.mT, mode="r").R
    singular_values: Tensor = torch.linalg.svdvals(triangle)
    return singular_values.sum(-1)


def euclidean_norm(*parts: Float[Tensor, "*batch _ _"]) -> Float[Tensor, "*batch"]:
    """√(‖A‖_F² + ‖B‖_F² + …), to about 1e-14: fast, as it needs no memory for the squares."""
    norms = torch.stack([torch.linalg.vector_norm(part, dim=(-2, -1)) for part in parts])
    norm: Tensor = torch.linalg.vector_norm(norms, dim=0)
    return norm
