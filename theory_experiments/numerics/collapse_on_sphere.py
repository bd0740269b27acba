"""Neural collapse on a sphere ‖W‖² + ‖H‖² = ρ² in closed form: its loss, a lower bound of all others, its curvature.

With n samples in each of K classes all margins of collapse are equal, q. Functions here name the sphere by q:

    q = ρ²/(2(K − 1)√n),    x = (K − 1)e^(−q),    L_NC = N log(1 + x),    R = μĈ

Ĉ [K, N] has the columns of I − 11ᵀ/K, each repeated n times and divided by √n, so ‖Ĉ‖_op = 1. μ is the multiplier of
the sphere. For unequal counts n is their mean, and none of this is claimed.
"""

import math

import torch
from torch import Tensor

import ulpm
from theory_experiments.numerics.vectors import unflat

__all__ = ["least_curvature", "log_loss", "multiplier", "norm", "shortfall", "value"]

_SMALL = 1e-12  # a smaller x is log(1 + x) to rounding, and may be 0 in float64


def value(problem: ulpm.Problem) -> float:
    """(K − 1)√n: the least ½ρ² at which all margins can be 1."""
    return (problem.num_classes - 1) * math.sqrt(problem.num_samples / problem.num_classes)


def norm(problem: ulpm.Problem, q: float) -> float:
    """ρ = (2(K − 1)√n q)^(1/2)."""
    return math.sqrt(2 * value(problem) * q)


def log_loss(problem: ulpm.Problem, q: float) -> float:
    """log L_NC = log N + log log(1 + x)."""
    log_x = math.log(problem.num_classes - 1) - q
    x = math.exp(log_x)
    return math.log(problem.num_samples) + (math.log(math.log1p(x)) if x > _SMALL else log_x)


def multiplier(problem: ulpm.Problem, q: float) -> float:
    """μ/L_NC = x/((1 + x) log(1 + x)) · 1/((K − 1)√n), from μ = −⟨∇L, Θ⟩/ρ²."""
    x = (problem.num_classes - 1) * math.exp(-q)
    return (x / ((1 + x) * math.log1p(x)) if x > _SMALL else 1.0) / value(problem)


def shortfall(problem: ulpm.Problem, points: Tensor) -> Tensor:
    """D = ½ρ² − ⟨Ĉ, WH⟩ = ½‖Wᵀ − HĈᵀ‖² + ½‖H − HĈᵀĈ‖² ≥ 0 [B] of points [B, D]: L ≥ L_NC + μD on the sphere.

    Computed as the sum of squares, which loses nothing to cancellation where D is small.
    """
    state = unflat(problem, points)
    counts = torch.tensor(problem.class_counts, dtype=torch.float64)[problem.labels]
    C = (torch.eye(problem.num_classes, dtype=torch.float64) - 1 / problem.num_classes)[:, problem.labels]
    C = C / counts.sqrt()
    dual = state.H @ C.T
    lacking: Tensor = (state.W.mT - dual).square().sum((1, 2)) + (state.H - dual @ C).square().sum((1, 2))
    return lacking / 2


def least_curvature(problem: ulpm.Problem, q: float) -> float:
    """The least curvature of log L at collapse except for rotations, which give 0: min(1, 2q/K) μ/L; for K = 2, μ/L.

    The curvature is μ/L along directions that keep the logits to first order, such as variation within classes. It is
    2q/K times that where W and H change alike, so that some cosines rise, others fall, and the changes at each class
    add up to 0. Such directions exist for K ≥ 4. For K = 3 and 2q < K the true value is larger.
    """
    softest = min(1.0, 2 * q / problem.num_classes) if problem.num_classes > 2 else 1.0
    return softest * multiplier(problem, q)
