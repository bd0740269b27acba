"""The optimum of the cross-entropy programme from its closed form for equal counts, continued to the counts at hand.

For equal shares π = 1/K and scales s the optimum is X = s q (I − 11ᵀ/K), with the margin q that the price or the budget
sets (Zhu, Ding, Zhou, Li, You, Sulam, Qu, 2021), and b = 0 if there is a bias. Shares and scales are then changed in
steps, which Newton's method can follow as long as the rank stays K − 1. Where it does not, as at minority collapse, a
solver has to find the optimum.
"""

import dataclasses
import math

import numpy as np
from jaxtyping import Float

from ulpm.optimality.cross_entropy import CrossEntropyProgramme
from ulpm.optimality.cross_entropy_polish import polish_cross_entropy

__all__ = ["continued_optimum", "equal_counts_optimum"]

# Shares of the value: where a point counts as optimal, under way and at the end.
_FOLLOWED, _OPTIMAL = 1e-6, 1e-12
_SMALLEST_STEP = 1 / 16
_SMALLEST_DIRECTION = 1e-6


def continued_optimum(programme: CrossEntropyProgramme) -> Float[np.ndarray, "K K"] | None:
    """The optimum to rounding, as its gap proves, or None if it is not reached from equal counts."""
    X = equal_counts_optimum(_between(programme, 0.0))
    if X is None:
        return None
    done, step = 0.0, 1.0
    if np.ptp(programme.shares) == 0 and np.ptp(programme.scales) == 0:
        done = 1.0
    while done < 1:
        if step < _SMALLEST_STEP:
            return None
        following = min(1.0, done + step)
        there = _between(programme, following)
        # The same logits Z = X diag(1/s) are nearer than the same X.
        start = X * (there.scales / _between(programme, done).scales)
        found = _within_budget(there, polish_cross_entropy(there, start, len(X) - 1))
        if there.gap(found) <= _FOLLOWED * there.value(found):
            X, done = found, following
        else:
            step /= 2
    S = np.linalg.svd(X, compute_uv=False)
    # Newton's method may also come near an optimum of lower rank, but would leave that rank unclear.
    reached = programme.gap(X) <= _OPTIMAL * programme.value(X) and S[-2] > _SMALLEST_DIRECTION * S[0]
    return X if reached else None


def equal_counts_optimum(programme: CrossEntropyProgramme) -> Float[np.ndarray, "K K"] | None:
    """The closed form, or None where the price leaves nothing but X = 0.

    Every wrong class has the probability p = α/K + μs, from which q = log((1 − (K − 1)p)/p): 0 once p ≥ 1/K.
    """
    K, scale = len(programme.shares), float(programme.scales[0])
    if programme.has_budget:
        size = programme.budget / (K - 1)
    else:
        # ‖G‖_op = (π/s) K (p − α/K) is the price.
        p = programme.smoothing / K + programme.price * scale
        if K * p >= 1:
            return None
        size = scale * math.log((1 - (K - 1) * p) / p)
    X: Float[np.ndarray, "K K"] = size * (np.eye(K) - 1 / K)
    return X


def _between(programme: CrossEntropyProgramme, share: float) -> CrossEntropyProgramme:
    """The programme at ``share`` of the way from equal counts to those at hand."""
    shares = programme.shares**share
    logs = np.log(programme.scales)
    scales = np.exp(logs.mean() + share * (logs - logs.mean()))
    if share == 1.0:
        return programme
    return dataclasses.replace(programme, shares=shares / shares.sum(), scales=scales)


def _within_budget(programme: CrossEntropyProgramme, X: Float[np.ndarray, "K K"]) -> Float[np.ndarray, "K K"]:
    if not programme.has_budget:
        return X
    scaled: Float[np.ndarray, "K K"] = X * (programme.budget / np.linalg.svd(X, compute_uv=False).sum())
    return scaled
