"""How far a point, scaled to smallest margin 1, is from satisfying the KKT conditions of the margin problem

    (MNS)   min ½(‖W‖² + ‖H‖²)   subject to   q_{ij} = Z_{y_i,i} − Z_{j,i} ≥ 1   for all i and j ≠ y_i,

with multipliers λ_{ij} = c·p_{ij}, the softmax probabilities of the wrong classes. Θ̂ = Θ/√q_min is feasible, and the
conditions that remain are Θ̂ = Σ λ_{ij} ∇q_{ij}(Θ̂) and λ_{ij}(q̂_{ij} − 1) = 0. As Σ p_{ij} ∇q_{ij} = −∇L, both
residuals below follow from the field alone, depend on neither the scale of Θ nor that of L, and lie in [0, 1] and
[0, ∞). In the terms of Dutta, Deb, Tulshyan, Arora, "Approximate KKT points and a proximity measure for termination",
2013, as used by Lyu and Li, "Gradient Descent Maximizes the Margin of Homogeneous Neural Networks", 2020, Θ̂ is an
(ε, δ)-KKT point with ε = stationarity·‖Θ̂‖ and δ ≤ Σ λ_{ij}(q̂_{ij} − 1) = complementarity·Σ λ_{ij}.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ulpm.distributed import ALONE, Shard
from ulpm.losses import LossAt
from ulpm.optimality.norms import euclidean_norm

__all__ = ["complementarity", "stationarity"]


def stationarity(
    W: Float[Tensor, "*batch K d"],
    H: Float[Tensor, "*batch d N"],
    loss: LossAt,
    W_dot: Float[Tensor, "*batch K d"],
    H_dot: Float[Tensor, "*batch d N"],
    shard: Shard = ALONE,
) -> Float[Tensor, "*batch"]:
    """min_c ‖Θ − cF‖/‖Θ‖ = sin ∠(Θ, F) with the field F = −∇ log L: the relative residual of Θ̂ = Σ λ ∇q(Θ̂).

    It is also ‖F − mΘ‖/‖F‖ with m = ⟨F, Θ⟩/ρ², the share of the gradient that is tangential to the sphere of radius ρ.
    Where F vanishes but for rounding, Θ is critical: 0. F is overwritten.
    """
    squared_norm = euclidean_norm(W, H, shard=shard).square()
    # ⟨W, RHᵀ⟩ = ⟨R, WH⟩ = ⟨H, WᵀR⟩: the smaller factor gives both halves of ⟨F, Θ⟩.
    m = 2 * (W * W_dot).sum((-2, -1)) / squared_norm
    m = torch.where(squared_norm > 0, m, 0.0)[..., None, None]
    total = euclidean_norm(W_dot, H_dot, shard=shard)
    # The residual itself, not √(1 − cos²), which would end at 1e-8.
    tangential = euclidean_norm(W_dot.addcmul_(m, W, value=-1), H_dot.addcmul_(m, H, value=-1), shard=shard)
    scale = squared_norm.sqrt() * euclidean_norm(loss.residual, shard=shard)
    rounding = 32 * torch.finfo(W.dtype).eps * scale
    return torch.where(total > rounding, tangential / total, 0.0)


def complementarity(
    rows: Int[Tensor, "*batch 1 N"], Z: Float[Tensor, "*batch K N"], loss: LossAt, shard: Shard = ALONE
) -> Float[Tensor, "*batch"]:
    """Σ p_{ij}(q_{ij} − q_min) / (q_min Σ p_{ij}): the mean of q̂_{ij} − 1 that the multipliers weight.

    ``rows`` are the labels as an index of rows. inf where nothing separates, q_min ≤ 0, so that no multiple of the
    point is feasible.
    """
    # −p_{ij}/L off the label row; on it the slack is set to 0.
    slack = (Z.gather(-2, rows) - Z).sub_(loss.margin[..., None, None]).scatter_(-2, rows, 0.0)
    weighted = shard.sum(-slack.mul_(loss.residual).sum((-2, -1)))
    total = shard.sum(loss.residual.gather(-2, rows).sum((-2, -1)))
    return torch.where(loss.margin > 0, weighted / (loss.margin * total), torch.inf)
