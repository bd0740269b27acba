"""What theory predicts for the late flow: constants with their next terms. The exponents are in the core's table.

All this is for a flow that ends at the optimum v* of the margin problem. The experiment on rates derives each number.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

import ulpm

__all__ = ["limits", "loss_correction", "mean_row_bend", "norm_correction", "quantities"]


def quantities(path: ulpm.Trajectory) -> dict[str, Float[Tensor, " R *batch"]]:
    """The columns of a trajectory by name, and the margin deficit 1 − γ/γ*."""
    return {**path.columns(), "margin deficit": 1 - path.margin_ratio}


def loss_correction(path: ulpm.Trajectory, value: float) -> Float[Tensor, " R *batch"]:
    """(1 + log(v*/2) − log m − log N(K−1))/m with m = log(1/L): the next term of L·t·log t/(v*/2) − 1."""
    m = -path.log_loss
    return (1 + math.log(value / 2) - m.log() - _log_pairs(path.problem)) / m


def norm_correction(path: ulpm.Trajectory, value: float) -> Float[Tensor, " R *batch"]:
    """(log log t − log(v*/2) + log N(K−1))/log t: the next term of ρ²/(2v*·log t) − 1."""
    return (path.log_time.log() - math.log(value / 2) + _log_pairs(path.problem)) / path.log_time


def limits(path: ulpm.Trajectory) -> dict[str, Float[Tensor, " B"]]:
    """Limits of |metric|·(log t)^a, with −a the exponent of its law, for equal counts n, K ≥ 3 and Σ_k w_k = K·w̄ ≠ 0.

    The flow conserves B' = WᵀW − HHᵀ − K·w̄w̄ᵀ. Let U be the partial isometry along the centred rows in the limit,
    X = UB'Uᵀ, and S the span of U (docs/mathematics.md):

        nc2_etf_means, nc2_etf_classifier_centered    ‖X − tr(X)/(K−1)·(I − 11ᵀ/K)‖ / (2√n·√(K−1))
        nc2_norm_classifier                           K/(K−1)·‖P_S w̄‖/√v*
        nc3_difference                                √K·‖w̄‖/√v*

    B' and w̄ are those of the first snapshot, U is that of the last one. Shapes: [B], a number for each start.
    """
    problem, shots = path.problem, path.snapshots
    assert shots is not None
    K, n, v = problem.num_classes, problem.class_counts[0], problem.minimum_norm_value
    W, H = shots.W[0], shots.H[0]
    mean_row = W.mean(-2)
    conserved = W.mT @ W - H @ H.mT - K * mean_row[:, :, None] * mean_row[:, None, :]
    right = _row_directions(shots.W[-1])
    X = right @ conserved @ right.mT  # in the K − 1 singular directions, where the simplex is the identity
    mean = X.diagonal(dim1=-2, dim2=-1).mean(-1)
    deviation = X - mean[:, None, None] * torch.eye(K - 1, dtype=X.dtype, device=X.device)
    etf = deviation.norm(dim=(-2, -1)) / (2 * math.sqrt(n * (K - 1)))
    in_span = (right @ mean_row[..., None]).norm(dim=(-2, -1))
    return {
        "nc2_etf_means": etf,
        "nc2_etf_classifier_centered": etf,
        "nc2_norm_classifier": K / (K - 1) * in_span / math.sqrt(v),
        "nc3_difference": math.sqrt(K) * mean_row.norm(dim=-1) / math.sqrt(v),
    }


def mean_row_bend(path: ulpm.Trajectory, log_time: float) -> Float[Tensor, " B"]:
    """The next term of the exponents of raw rows at a given log t: ½·‖w̄‖²/(‖P_S w̄‖·‖w_k‖).

    In ⟨w_j, w_k⟩ the conserved mean row w̄ enters first by ⟨u_j + u_k, w̄⟩·‖w_k‖ with the directions u of the centred
    rows, then by ‖w̄‖²; ‖w_k‖² = v*·log t/K. The term is large if w̄ is nearly orthogonal to the span S of the
    classifier.
    """
    problem, shots = path.problem, path.snapshots
    assert shots is not None
    mean_row = shots.W[0].mean(-2)
    row_norm = math.sqrt(problem.minimum_norm_value * log_time / problem.num_classes)
    in_span = (_row_directions(shots.W[-1]) @ mean_row[..., None]).norm(dim=(-2, -1))
    bend: Tensor = mean_row.square().sum(-1) / (2 * in_span * row_norm)
    return bend


def _row_directions(W: Float[Tensor, "B K d"]) -> Float[Tensor, "B L d"]:
    """An orthonormal basis of the span of the centred rows, L = K − 1."""
    right: Tensor = torch.linalg.svd(W - W.mean(-2, keepdim=True), full_matrices=False).Vh
    return right[..., : W.shape[-2] - 1, :]


def _log_pairs(problem: ulpm.Problem) -> float:
    """The entropy of equal multipliers. Unequal counts have different multipliers, with a slightly smaller entropy."""
    return math.log(problem.num_samples * (problem.num_classes - 1))
