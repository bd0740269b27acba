"""The bias that is best for given W H, and logits whose residual is dual feasible where a bias costs nothing.

    b̂ = argmin_b L(Z + b1ᵀ),   so that   Σ_i G_i = 0,   G = −∇L(Z + b̂1ᵀ)

For squared error b̂ is the mean of Y − Z over samples. For cross-entropy it is found by Newton's method with steps that
cannot overshoot: along Δ the third derivative of a log-sum-exp is at most r = max Δ − min Δ times the second, and the
share log(1 + r)/r of the step lowers the loss (Sun and Tran-Dinh, "Generalized self-concordant functions: a recipe for
Newton-type methods", 2019). What is left of Σ_i G_i after the last step is then moved to where it cancels.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ulpm.distributed import ALONE, Shard
from ulpm.logdomain import softplus
from ulpm.losses import LogitLoss, SquaredError

__all__ = ["best_bias", "dual_logits"]

_STEPS = 50
# |Σ_i G_ji| over Σ_i |G_ji|: what rounding leaves, and from where on it may be all that is left.
_ROUNDING = 4 * torch.finfo(torch.float64).eps
_SETTLED = 1e-10
_SHORTEST = 1e-6
# The smallest logarithm of a probability.
_LOG_FLOOR = -700.0


def best_bias(
    loss: LogitLoss,
    Z: Float[Tensor, "*batch K N"],
    rows: Int[Tensor, "*batch 1 N"],
    start: Float[Tensor, "*batch K"] | None = None,
    weights: Float[Tensor, "*batch 1 N"] | None = None,
    shard: Shard = ALONE,
) -> Float[Tensor, "*batch K"]:
    """argmin_b Σ_i ω_i ℓ(z_i + b, y_i), by squared error or cross-entropy, plain or with smoothed labels.

    ``weights`` ω are 1 by default. The loss is nowhere above that of the ``start``, by default 0. Where some
    probability is 0 to rounding, the b that is returned may not be the best.
    """
    b = Z.new_zeros(Z.shape[:-1]) if start is None else start
    if isinstance(loss, SquaredError):
        return _mean_error(Z, rows, weights, shard)
    smoothing: float = getattr(loss, "label_smoothing", 0.0)
    value, g, H, error = _expansion(smoothing, Z, b, rows, weights, shard)
    length = torch.ones_like(value)
    done = error <= _ROUNDING
    for _ in range(_STEPS):
        if bool(done.all()):
            break
        step = _newton_step(H, g)
        extent = (step.amax(-1) - step.amin(-1)).clamp(max=1e300)
        damped = length * torch.where(extent > 0, torch.log1p(extent) / extent, 0.0)
        trial = b + damped[..., None] * step
        there = _expansion(smoothing, Z, trial, rows, weights, shard)
        better = (there[0] <= value * (1 + _ROUNDING)) & ~done
        # Beyond this, rounding makes errors of its own.
        done = done | (damped == 0) | (length < _SHORTEST) | (better & (there[3] < _SETTLED) & (there[3] > error / 2))
        done = done | (better & (there[3] <= _ROUNDING))
        length = torch.where(better, 1.0, length / 2)
        b = torch.where(better[..., None], trial, b)
        value, error = torch.where(better, there[0], value), torch.where(better, there[3], error)
        g, H = torch.where(better[..., None], there[1], g), torch.where(better[..., None, None], there[2], H)
    return b


def dual_logits(
    loss: LogitLoss,
    Z: Float[Tensor, "*batch K N"],
    b: Float[Tensor, "*batch K"],
    rows: Int[Tensor, "*batch 1 N"],
    counts: Float[Tensor, " K"],
    shard: Shard = ALONE,
) -> Float[Tensor, "*batch K N"]:
    """Logits near Z + b1ᵀ with Σ_i G_i = 0 to rounding, whatever b is: what they prove holds for every bias.

    For cross-entropy, samples of a class k whose wrong probabilities sum to too little get more of those that other
    classes receive too little of, by the n_k = ``counts``: probabilities are only raised, so that a sum which was right
    to rounding of its terms stays so. Should they exceed 1, all are mixed with the labels.
    """
    if isinstance(loss, SquaredError):
        return Z + b[..., None]
    K = Z.shape[-2]
    target: float = getattr(loss, "label_smoothing", 0.0) / K
    wrong, _, G, _ = _wrong_probabilities(target, Z + b[..., None], rows)
    g = shard.all_reduce(G.sum(-1))
    lacking, beyond = g.clamp(min=0), (-g).clamp(min=0)
    total = torch.maximum(lacking.sum(-1), beyond.sum(-1))[..., None, None]
    of_sample = (beyond / counts)[..., None, :].expand(*Z.shape[:-2], 1, K).gather(-1, rows)
    wrong = wrong + lacking[..., None] * torch.where(total > 0, of_sample / total, 0.0)
    # On the label row one factor is 0: no class both lacks and has too much.
    largest = shard.all_gather(wrong.sum(-2).amax(-1)).amax(0)[..., None, None]
    at_labels = target * (K - 1)
    share = torch.where(largest > 1, (1 - at_labels) / (largest - at_labels), 1.0)
    mixed = ((1 - share) * target + share * wrong).scatter(-2, rows, 0.0)
    label = torch.log1p(-mixed.sum(-2, keepdim=True).clamp(max=1.0))
    return mixed.log().scatter(-2, rows, label).clamp(min=_LOG_FLOOR)


def _mean_error(Z: Tensor, rows: Tensor, weights: Tensor | None, shard: Shard) -> Tensor:
    """The mean of Y − Z over samples, and of what rounding left of it."""
    weight = torch.ones_like(rows, dtype=Z.dtype) if weights is None else weights
    total = shard.all_reduce(weight.sum(-1))
    b = torch.zeros_like(Z[..., 0])
    for _ in range(2):
        error = -(Z + b[..., None])
        error = error.scatter_add(-2, rows, torch.ones_like(rows, dtype=Z.dtype))
        b = b + shard.all_reduce((weight * error).sum(-1)) / total
    return b


def _wrong_probabilities(
    target: float, A: Float[Tensor, "*batch K N"], rows: Int[Tensor, "*batch 1 N"]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """p_ji, 0 on the label row; p of the label; G = −∇L; and the loss of each sample: from gaps, however small."""
    gaps = A - A.gather(-2, rows)
    log_odds = gaps.scatter(-2, rows, -torch.inf).logsumexp(-2, keepdim=True)
    losses = softplus(log_odds)
    wrong = torch.exp(gaps - losses).scatter(-2, rows, 0.0)
    G = (target - wrong).scatter(-2, rows, 0.0)
    G = G.scatter(-2, rows, -G.sum(-2, keepdim=True))
    return wrong, torch.exp(-losses), G, losses - target * gaps.sum(-2, keepdim=True)


def _expansion(
    smoothing: float, Z: Tensor, b: Tensor, rows: Tensor, weights: Tensor | None, shard: Shard
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """L, −dL/db and d²L/db² at b, and the largest |Σ_i G_ji| over Σ_i |G_ji| of a class j."""
    K = Z.shape[-2]
    wrong, label, G, losses = _wrong_probabilities(smoothing / K, Z + b[..., None], rows)
    weight = 1.0 if weights is None else weights
    P = wrong.scatter(-2, rows, label)
    H = -((weight * P) @ P.mT)
    total, weighted = (weight * losses).sum((-2, -1))[..., None], weight * G
    parts = torch.cat([total, weighted.sum(-1), weighted.abs().sum(-1), H.flatten(-2)], -1)
    value, g, size, flat = torch.split(shard.all_reduce(parts), [1, K, K, K * K], -1)
    H = flat.reshape(*Z.shape[:-2], K, K).clone()
    # Rows sum to 0: the diagonal from the others, so that a small one is right to its own rounding.
    H.diagonal(dim1=-2, dim2=-1).zero_()
    H = H - torch.diag_embed(H.sum(-1))
    return value[..., 0], g, H, torch.where(size > 0, g.abs() / size, 0.0).amax(-1)


def _newton_step(H: Float[Tensor, "*batch K K"], g: Float[Tensor, "*batch K"]) -> Float[Tensor, "*batch K"]:
    """H⁺g, H scaled to a diagonal of ones first, as classes may differ by any power of ten."""
    diagonal = H.diagonal(dim1=-2, dim2=-1)
    roots = torch.where(diagonal > 0, diagonal, 1.0).rsqrt()
    eigenvalues, vectors = torch.linalg.eigh(roots[..., None] * H * roots[..., None, :])
    along = (vectors.mT @ (roots * g)[..., None])[..., 0]
    # 1 is the null vector; others belong to classes that do not see each other.
    solved = torch.where(eigenvalues > 8 * H.shape[-1] * torch.finfo(H.dtype).eps, along / eigenvalues, 0.0)
    step: Tensor = roots * (vectors @ solved[..., None])[..., 0]
    return step.nan_to_num(0.0, 0.0, 0.0)
