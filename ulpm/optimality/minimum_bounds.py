"""What a point proves about the minimum of Φ where something finite minimises it, by Fenchel duality.

    Φ = L(Z) + ½λ_W‖W‖² + ½λ_H‖H‖²  ≥  L(Z) + c‖WH‖_*  ≥  −L*(−D)   for every D with ‖D‖_op ≤ c = √(λ_W λ_H)

since L(Z) ≥ −L*(−D) − ⟨D, Z⟩ and ⟨D, Z⟩ ≤ c‖Z‖_*. With a bias Z = W H + b1ᵀ, and ⟨D, b1ᵀ⟩ = 0 takes Σ_i D_i = 0. At the
optimum D = −∇L; at any point a share of it is feasible, once the bias is the best one for W H. Sums over samples are
taken here, and divided by N at the end where the problem has the mean: the price of ‖WH‖_* is then cN.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ulpm.losses import LossAt, SquaredError
from ulpm.objective import Objective
from ulpm.optimality.bias import best_bias, dual_logits
from ulpm.optimality.norms import euclidean_norm, nuclear_norm, operator_norm
from ulpm.state import Factors

__all__ = ["minimum_bounds"]


def minimum_bounds(objective: Objective, at: Factors) -> dict[str, Float[Tensor, "*batch"]]:
    """The columns of a certificate at float64 factors, for a convex loss with both decays or an attained one with none.

    See ``Certificate`` for what they are.
    """
    problem, shard = objective.problem, objective.shard
    loss, F = objective(at)
    Φ = loss.log_loss.exp()
    columns = {"upper_bound": Φ, "stationarity": _stationarity(objective, at, loss, F)}
    if not problem.decayed:
        least = problem.loss.least(problem.num_classes) * problem.num_samples / problem.samples_per_unit
        return columns | {
            "lower_bound": torch.full_like(Φ, least),
            "nuclear_upper_bound": Φ,
            "complementarity": torch.zeros_like(Φ),
        }
    λ_W, λ_H = problem.weight_decay
    price = math.sqrt(λ_W) * math.sqrt(λ_H) * problem.samples_per_unit
    Z = at.W @ at.H
    rows = objective.label_rows(Z)
    shifted, dual, offset = Z, Z, torch.zeros_like(Φ)
    if at.b is not None:
        b = best_bias(problem.loss, Z, rows, at.b, shard=shard)
        counts = torch.tensor(problem.class_counts, dtype=Z.dtype, device=Z.device)
        shifted, dual = Z + b[..., None], dual_logits(problem.loss, Z, b, rows, counts, shard)
    there = problem.loss.at(dual.clone(), rows)
    G = there.residual * there.log_scale.exp()[..., None, None]
    if at.b is not None and isinstance(problem.loss, SquaredError):
        # At the optimum b = n_k/N, whatever the decay: what rounding leaves of Σ_i G_i can be accounted for.
        offset = shard.all_reduce(G.sum(-1)) @ counts / problem.num_samples
    share = price / operator_norm(G, shard)
    loss_there = problem.loss.at(shifted.clone(), rows).log_loss if at.b is not None else there.log_loss
    size = nuclear_norm(Z, shard)
    below = shard.all_reduce(loss_there.exp()) + price * size
    along = share.clamp(max=1) * shard.all_reduce((G * Z).sum((-2, -1))) / price
    return columns | {
        "lower_bound": problem.loss.dual_value(dual, rows, share, shard.all_reduce, offset) / problem.samples_per_unit,
        # Rounding must not put it above the other one.
        "nuclear_upper_bound": torch.minimum(below / problem.samples_per_unit, Φ),
        "complementarity": torch.where(size > 0, 1 - along / size, 0.0).clamp(min=0),
    }


def _stationarity(objective: Objective, at: Factors, loss: LossAt, F: Factors) -> Tensor:
    """‖∇Φ‖ over the sum of what its two parts have, or without decay over √N times the norm of dZ/d(W, H, b)."""
    problem, shard = objective.problem, objective.shard
    W_dot, H_dot, b_dot = F
    bias = [] if b_dot is None else [b_dot[..., None]]
    gradient = euclidean_norm(W_dot, *bias, H_dot, shard=shard)
    N = problem.num_samples
    reach = (euclidean_norm(at.W, at.H, shard=shard).square() + (N if problem.bias else 0)).sqrt()
    if not problem.decayed:
        size = reach * math.sqrt(N)
        return torch.where(size > 0, gradient * loss.log_scale.exp() / size, 0.0)
    unit = torch.exp(-loss.log_loss)[..., None, None] if objective.logarithmic else 1.0
    λ_W, λ_H = problem.weight_decay
    W_decay, H_decay = λ_W * unit * at.W, λ_H * unit * at.H
    of_loss = euclidean_norm(W_dot + W_decay, *bias, H_dot + H_decay, shard=shard)
    of_decay = euclidean_norm(W_decay, H_decay, shard=shard)
    # Where a part vanishes, as at 0, nothing but rounding is left of both.
    rounding = 32 * torch.finfo(at.W.dtype).eps * (reach * euclidean_norm(loss.residual, shard=shard) + of_decay)
    return torch.where(gradient > rounding, gradient / (of_loss + of_decay), 0.0)
