"""Predictions of the simplex-encoded-label (SELI) geometry for the late flow with unequal counts, with constants.

Late in the flow, with Z* = I − 11ᵀ/K repeated over the samples, v* = ‖Z*‖_*, and the multipliers λ* of the margin
problem (Σ λ* = v*):

Logits. R/L tends to the multipliers, p_{ij}/L → λ*_{ij}/v*, and the gap of sample i to class j is −log p_{ij}. So
    Z = log(1/L)·Z* + log(λ*/v*) + o(1)  off the label row, up to a constant in each column:
the distance of the direction of the logits from that of Z* is a constant over log(1/L) ≈ log t. The spread of log λ*
determines the constant.

Within-class variability. Feature parts orthogonal to the classifier's rows never move. By 1ᵀR = 0 and Σ_k r_k → 0 (r_k
the column of R of a sample of class k) the frozen part of the mean of class k is η/n_k, with one η ∈ R^d. With unequal
counts these parts do not cancel in μ_k − μ_G. So the span of the means is tilted by η c_kᵀ, c_k = 1/n_k − mean(1/n),
out of that of the classifier, and the frozen deviations δ_i of the samples have parts in it:
    nc1_pinv·(log t)² → ‖(M*ᵀM*)† c‖² · mean_i ⟨η, δ_i⟩²,   M* the class means at margin 1.
With equal counts c = 0, and the next order remains, (log t)^{−3}.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

import ulpm

__all__ = ["centred", "class_means", "direction_distance", "logits_constant", "seli_metrics", "variability_constant"]


def centred(num_classes: int) -> Float[Tensor, "K K"]:
    """I − 11ᵀ/K, the optimal logits of class means for any counts."""
    return torch.eye(num_classes, dtype=torch.float64) - 1 / num_classes


def class_means(problem: ulpm.Problem, H: Float[Tensor, "*batch d N"]) -> Float[Tensor, "*batch d K"]:
    """μ_k, the mean of the columns of class k."""
    parts = torch.split(H, list(problem.class_counts), dim=-1)
    return torch.stack([part.mean(-1) for part in parts], -1)


def direction_distance(matrix: Float[Tensor, "*batch K K"], target: Float[Tensor, "K K"]) -> Float[Tensor, "*batch"]:
    """‖A/‖A‖ − B/‖B‖‖_F."""
    size = torch.linalg.matrix_norm(matrix)[..., None, None]
    distance: Tensor = torch.linalg.matrix_norm(matrix / size - target / torch.linalg.matrix_norm(target))
    return distance


def logits_constant(problem: ulpm.Problem, separation: ulpm.Separation) -> float:
    """lim log(1/L)·‖Z̄/‖Z̄‖ − Z̄*/‖Z̄*‖‖ of the class means' centred logits Z̄: the correction orthogonal to Z̄*."""
    K = problem.num_classes
    multipliers = class_means(problem, separation.multipliers)
    off_label = ~torch.eye(K, dtype=torch.bool)
    correction = torch.zeros(K, K, dtype=torch.float64)
    correction[off_label] = (multipliers[off_label] / separation.value).log()
    correction -= correction.mean(0)
    optimal = centred(K)
    across = correction - optimal * (correction * optimal).sum() / optimal.square().sum()
    return float(across.norm() / optimal.norm())


def seli_metrics(problem: ulpm.Problem) -> dict[str, float]:
    """Every metric of neural collapse at the SELI state: the limits of those of the flow, positive ones included."""
    state = ulpm.seli_state(problem)
    return {name: float(value) for name, value in ulpm.neural_collapse(state.W, state.H, problem.labels).items()}


def variability_constant(problem: ulpm.Problem, state: ulpm.State) -> Float[Tensor, "*batch"]:
    """lim nc1_pinv·(log t)² for unequal counts, from the frozen parts of a late ``state`` [B, …] of the flow."""
    K = problem.num_classes
    rows = torch.linalg.svd(state.W, full_matrices=False).Vh[..., : K - 1, :]
    means = class_means(problem, state.H)
    inverse_counts = 1 / torch.tensor(problem.class_counts, dtype=torch.float64)
    frozen_sum = _orthogonal(rows, means).sum(-1, keepdim=True)
    eta = frozen_sum / inverse_counts.sum()
    deviations = _orthogonal(rows, state.H - means[..., problem.labels])
    roomy = ulpm.Problem(problem.class_counts, K - 1)
    margin_one = ulpm.seli_state(roomy, norm=math.sqrt(2 * roomy.minimum_norm_value))
    M = class_means(roomy, margin_one.H)
    leaning = torch.linalg.pinv(M.T @ M, rtol=1e-10, hermitian=True) @ (inverse_counts - inverse_counts.mean())
    constant: Tensor = leaning.square().sum() * (eta.mT @ deviations).square().mean((-2, -1))
    return constant


def _orthogonal(rows: Float[Tensor, "*batch r d"], columns: Float[Tensor, "*batch d n"]) -> Float[Tensor, "*batch d n"]:
    """Columns minus their parts in the span of the orthonormal rows."""
    return columns - rows.mT @ (rows @ columns)
