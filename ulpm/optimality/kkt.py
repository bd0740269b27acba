"""How far a point, scaled to smallest margin 1, is from satisfying the KKT conditions of the margin problem

    (MNS)   min ½(‖W‖² + ‖H‖²)   subject to   q_{ij} = Z_{y_i,i} − Z_{j,i} ≥ 1   for all i and j ≠ y_i,

with multipliers λ_{ij} = c·p_{ij}, the softmax probabilities of the wrong classes. Θ̂ = Θ/√q_min is feasible, and the
conditions that remain are Θ̂ = Σ λ_{ij} ∇q_{ij}(Θ̂) and λ_{ij}(q̂_{ij} − 1) = 0. As Σ p_{ij} ∇q_{ij} = −∇L, both
residuals below follow from the field alone, depend on neither the scale of Θ nor that of L, and lie in [0, 1] and
[0, ∞). In the terms of Dutta, Deb, Tulshyan, Arora, "Approximate KKT points and a proximity measure for termination",
2013, as used by Lyu and Li, "Gradient Descent Maximizes the Margin of Homogeneous Neural Networks", 2020, Θ̂ is an
(ε, δ)-KKT point with ε = stationarity·‖Θ̂‖ and δ ≤ Σ λ_{ij}(q̂_{ij} − 1) = complementarity·Σ λ_{ij}.
"""

import functools

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ulpm._blocks import blocks
from ulpm.distributed import ALONE, Shard
from ulpm.objective import add_matmul
from ulpm.optimality.norms import euclidean_norm

__all__ = ["complementarity", "stationarity"]


def stationarity(
    W: Float[Tensor, "*batch K d"],
    H: Float[Tensor, "*batch d N"],
    Z: Float[Tensor, "*batch K N"],
    residual: Float[Tensor, "*batch K N"],
    shard: Shard = ALONE,
) -> Float[Tensor, "*batch"]:
    """min_c ‖Θ − cF‖/‖Θ‖ = sin ∠(Θ, F) with the field F = −∇ log L: the relative residual of Θ̂ = Σ λ ∇q(Θ̂).

    It is also ‖F − mΘ‖/‖F‖ with m = ⟨F, Θ⟩/ρ², the share of the gradient that is tangential to the sphere of radius ρ.
    Where F vanishes but for rounding, Θ is critical: 0. Z is W H.
    """
    squared_norm = euclidean_norm(W, H, shard=shard).square()
    # ⟨W, RHᵀ⟩ = ⟨R, WH⟩ = ⟨H, WᵀR⟩.
    m = 2 * shard.all_reduce((residual * Z).sum((-2, -1))) / squared_norm
    m = torch.where(squared_norm > 0, m, 0.0)
    # The residual itself, not √(1 − cos²), which would end at 1e-8; a block of H at a time, which stays in a cache.
    of_W, of_H, parts = [], [], blocks(H)
    for rows, columns in parts:
        part, R = H[..., rows, columns], residual[..., columns]
        of_W.append(R @ part.mT)
        tangential = add_matmul(m[..., None, None] * part, W.mT[..., rows, :], R, alpha=-1)
        of_H.append(torch.linalg.vector_norm(tangential, dim=(-2, -1)))
    # R Hᵀ has the rows of H as its columns, and is a sum over those of H.
    whole_rows = parts[0][0] == slice(None)
    W_dot = functools.reduce(torch.add, of_W) if whole_rows else torch.cat(of_W, -1)
    W_part = shard.all_reduce(W_dot) - m[..., None, None] * W
    tangent = euclidean_norm(W_part, torch.stack(of_H, -1)[..., None], shard=shard)
    total = (tangent.square() + m.square() * squared_norm).sqrt()
    rounding = 32 * torch.finfo(W.dtype).eps * squared_norm.sqrt() * euclidean_norm(residual, shard=shard)
    return torch.where(total > rounding, tangent / total, 0.0)


def complementarity(
    rows: Int[Tensor, "*batch 1 N"],
    Z: Float[Tensor, "*batch K N"],
    residual: Float[Tensor, "*batch K N"],
    margin: Float[Tensor, "*batch"],
    shard: Shard = ALONE,
) -> Float[Tensor, "*batch"]:
    """Σ p_{ij}(q_{ij} − q_min) / (q_min Σ p_{ij}): the mean of q̂_{ij} − 1 that the multipliers weight.

    ``rows`` are the labels as an index of rows. inf where nothing separates, q_min ≤ 0, so that no multiple of the
    point is feasible.
    """
    # The residual is −p_{ij}/L off the label row; on it the slack is set to 0.
    slack = (Z.gather(-2, rows) - Z).sub_(margin[..., None, None]).scatter_(-2, rows, 0.0)
    weighted = shard.all_reduce(-slack.mul_(residual).sum((-2, -1)))
    total = shard.all_reduce(residual.gather(-2, rows).sum((-2, -1)))
    return torch.where(margin > 0, weighted / (margin * total), torch.inf)
