"""The layer-peeled models that bound or pay for the norms: their global optima, by a convex relaxation that is exact.

Here norms stay finite and the mean loss positive, and classes with few samples may lose their own directions, which
they never do in the margin problem of the unconstrained model.
"""

import dataclasses
import math
import sys

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ulpm import _checks
from ulpm.optimality.cross_entropy import CrossEntropyProgramme
from ulpm.optimality.cross_entropy_path import continued_optimum
from ulpm.optimality.cross_entropy_polish import polish_cross_entropy
from ulpm.optimality.programme import nuclear_norm
from ulpm.optimality.relaxation import optimum_status, solve_cross_entropy
from ulpm.problem import Problem, checked
from ulpm.state import State

__all__ = [
    "LayerPeeledOptimum",
    "balanced_factors",
    "checked_gap",
    "norm_constrained_optimum",
    "optimal_point",
    "regularised_optimum",
]

# Shares of the value: what the gap may be at most where an answer is returned, and where it cannot be made better.
_LARGEST_GAP, _POLISHED_GAP = 1e-6, 1e-12
_LARGEST_ENERGY = 700
_SMALLEST_DECAY = 1e-300
_ROUNDING_GAP = 1e-14
# The interior-point solver is quick and exact up to here; a splitting method may take minutes and miss.
_FEW_CLASSES = 12


@dataclasses.dataclass(frozen=True, eq=False)
class LayerPeeledOptimum:
    """A solution of the relaxation of a layer-peeled model and the proof of how good it is.

    Attributes:
        value: The objective at the logits.
        logits: Z [K, N], the same for all samples of a class.
        state: Factors of the logits that attain the value, W Wᵀ = c (Z Zᵀ)^{1/2} with Z weighted as in the objective.
            None if the solution is not tight.
        multiplier: ‖G‖_op for the gradient G in the logits: the fall of the objective per unit of the budget K √(E_W
            E_H) of the nuclear norm, or its price √(λ_W λ_H).
        duality_gap: No W, H, of whatever dimension, has an objective below ``value − duality_gap``. It follows from the
            logits alone, and is of the order of rounding, so that it may be negative by that.
        gram_error: Every optimal W* has ‖W Wᵀ − W*W*ᵀ‖_F ≤ gram_error, W Wᵀ as it follows from the logits: what is
            proven about norms and angles of classifiers. inf if nothing is.
        rank: That of the logits, at most K − 1. A class whose share of the gradient stays below the multiplier has no
            singular direction of its own.
        tight: Whether the rank fits into d features.
        status: All this in a sentence.

    >>> problem = ulpm.Problem([5] * 3, feature_dim=3)
    >>> answer = ulpm.norm_constrained_optimum(problem, classifier_energy=1.0, feature_energy=1.0)
    >>> answer.duality_gap < 1e-9, answer.tight
    (True, True)
    """

    value: float
    logits: Float[Tensor, "K N"]
    state: State | None
    multiplier: float
    duality_gap: float
    gram_error: float
    rank: int
    tight: bool
    status: str


def norm_constrained_optimum(
    problem: Problem, classifier_energy: float, feature_energy: float, solver: str | None = None
) -> LayerPeeledOptimum:
    """The global optimum of the norm-constrained layer-peeled model, exact where rank Z* ≤ d, as always for d ≥ K − 1.

        min (1/N) Σ_i CE(W h_i, y_i)   s.t.   (1/K) Σ_k ‖w_k‖² ≤ E_W,   (1/K) Σ_k (1/n_k) Σ_{i in k} ‖h_i‖² ≤ E_H

    By convexity the features of a class are equal, h_i = h_{y_i}, and factors within the budgets exist for logits
    Z̄ [K, K] exactly if ‖Z̄‖_* ≤ K √(E_W E_H). This convex programme is equivalent to the semidefinite one in the Gram
    matrix [2K, 2K] of W and the h_k. Counts matter by their shares n_k/N alone.

    Args:
        problem: Its class counts and d; loss and decay are those of the formula.
        classifier_energy: E_W > 0.
        feature_energy: E_H > 0.
        solver: The name of one that cvxpy finds and that knows exponential cones; by default CLARABEL for few classes,
            SCS for many.

    Returns:
        A LayerPeeledOptimum.

    Raises:
        TypeError: For what is no number.
        ValueError: For an energy that is not positive, a solver that is not there or fails, or an answer whose gap
            exceeds 1e-6 of the value, as with unequal counts and budgets so large that the loss is tiny.
        ImportError: If cvxpy is needed, as for unequal counts, and not installed.

    Source: Fang, He, Long, Su, "Exploring deep neural networks via layer-peeled model: Minority collapse in imbalanced
    training", 2021.

    >>> problem = ulpm.Problem([1000, 1000, 1, 1], feature_dim=4)
    >>> answer = ulpm.norm_constrained_optimum(problem, classifier_energy=1.0, feature_energy=5.0)
    >>> minority = answer.state.W[2:]
    >>> round(float(torch.cosine_similarity(minority[0], minority[1], dim=0)), 6)  # minority collapse
    1.0
    """
    checked(problem)
    E_W = _checks.real("classifier_energy", classifier_energy, above=0)
    E_H = _checks.real("feature_energy", feature_energy, above=0)
    # Logits differ by more than this, and the loss is below e^−700.
    energy = _geometric_mean(E_W, E_H)
    if energy > _LARGEST_ENERGY:
        raise ValueError(
            f"the geometric mean of classifier_energy and feature_energy must be at most {_LARGEST_ENERGY}, but it is "
            f"{energy:.3g}: the loss would underflow."
        )
    K, shares = problem.num_classes, _shares(problem)
    programme = CrossEntropyProgramme(shares, np.ones(K), budget=K * energy)
    return _optimum(problem, programme, _root_of_quotient(E_W, E_H), solver)


def regularised_optimum(
    problem: Problem, classifier_decay: float, feature_decay: float, solver: str | None = None
) -> LayerPeeledOptimum:
    """The global optimum of the layer-peeled model with weight decay, exact where rank Z* ≤ d, as always for d ≥ K − 1.

        min (1/N) Σ_i CE(W h_i, y_i) + (λ_W/2)‖W‖² + (λ_H/2)‖H‖²   =   min (1/N) Σ_i CE(z_i, y_i) + √(λ_W λ_H) ‖Z‖_*

    By symmetry Z is Z̄ [K, K] spread over the samples, ‖Z‖_* = ‖Z̄ diag(√n_k)‖_*. Classes of one count n share one
    classifier if and only if √n/N ≤ √(λ_W λ_H), and W = H = 0 if and only if ‖(I − 11ᵀ/K) diag(√n_k)‖_op / N ≤
    √(λ_W λ_H), which for equal counts is the same. A class that is alone with its count has no such threshold of its
    own. There is no bias.

    Args:
        problem: Its class counts and d; loss and decay are those of the formula.
        classifier_decay: λ_W > 0, on the mean loss as it stands above.
        feature_decay: λ_H > 0, likewise.
        solver: As in ``norm_constrained_optimum``.

    Returns:
        A LayerPeeledOptimum.

    Raises:
        TypeError: For what is no number.
        ValueError: As in ``norm_constrained_optimum``, or for decays whose geometric mean is below 1e-300.
        ImportError: As in ``norm_constrained_optimum``.

    Source: Zhu, Ding, Zhou, Li, You, Sulam, Qu, "A geometric analysis of neural collapse with unconstrained features",
    2021.

    >>> answer = ulpm.regularised_optimum(ulpm.Problem([5] * 3, feature_dim=3), 0.01, 0.01)
    >>> answer.rank, answer.tight
    (2, True)
    """
    checked(problem)
    λ_W = _checks.real("classifier_decay", classifier_decay, above=0)
    λ_H = _checks.real("feature_decay", feature_decay, above=0)
    decay = _geometric_mean(λ_W, λ_H)
    if decay < _SMALLEST_DECAY:
        raise ValueError(
            f"the geometric mean of classifier_decay and feature_decay must be at least {_SMALLEST_DECAY}, but it is "
            f"{decay:.3g}: the loss would underflow."
        )
    roots = np.sqrt(np.array(problem.class_counts, dtype=float))
    programme = CrossEntropyProgramme(_shares(problem), roots, price=decay)
    return _optimum(problem, programme, _root_of_quotient(λ_H, λ_W), solver)


def _geometric_mean(a: float, b: float) -> float:
    """√(a b), also where the product over- or underflows."""
    return math.sqrt(a * b) if _is_normal(a * b) else math.sqrt(a) * math.sqrt(b)


def _root_of_quotient(a: float, b: float) -> float:
    """√(a/b), also where the quotient over- or underflows."""
    return math.sqrt(a / b) if _is_normal(a / b) else math.sqrt(a) / math.sqrt(b)


def _is_normal(x: float) -> bool:
    return sys.float_info.min < x < math.inf


def _shares(problem: Problem) -> Float[np.ndarray, " K"]:
    return np.array(problem.class_counts) / problem.num_samples


def _optimum(
    problem: Problem, programme: CrossEntropyProgramme, ratio: float, solver: str | None
) -> LayerPeeledOptimum:
    """The optimal point lifted; ``ratio`` is that of ‖W‖² to the squared norm of the weighted means."""
    X, words = optimal_point(programme, solver)
    return _lifted(problem, programme, X, ratio, words)


def optimal_point(programme: CrossEntropyProgramme, solver: str | None) -> tuple[Float[np.ndarray, "K K"], str]:
    """The continued closed form or the solver's answer polished, and where it is from; the gap tells how good it is."""
    if solver is not None:
        return _solved_and_polished(programme, solver)
    nothing = np.zeros((len(programme.shares), len(programme.shares)))
    # A solver may fail here, as at prices whose size it cannot hold.
    if not programme.has_budget and programme.multiplier(nothing) <= programme.price:
        return nothing, "all logits are 0"
    equal = bool(np.ptp(programme.shares) == 0)
    tried = equal or len(programme.shares) > _FEW_CLASSES
    continued = continued_optimum(programme) if tried else None
    if continued is None:
        X, words = _solved_and_polished(programme, solver)
        if tried or programme.gap(X) <= _POLISHED_GAP * programme.value(X):
            return X, words
        # Of a tiny loss the solver may miss even the rank.
        continued = continued_optimum(programme)
        if continued is None:
            return X, words
    return continued, "the closed form for equal counts was continued"


def _solved_and_polished(programme: CrossEntropyProgramme, solver: str | None) -> tuple[Float[np.ndarray, "K K"], str]:
    found, words = solve_cross_entropy(programme, solver)
    rank = _rank_at_optimum(programme, found)
    candidates = [_feasible(programme, found)]
    if rank:
        candidates.insert(0, _feasible(programme, polish_cross_entropy(programme, found, rank)))
    else:
        candidates.insert(0, np.zeros_like(found))
    gaps = [programme.gap(X) for X in candidates]
    # Gaps that differ by rounding tell nothing about geometry: then the polished point is taken.
    chosen = 0 if gaps[0] <= gaps[1] + _ROUNDING_GAP * programme.value(candidates[1]) else 1
    return candidates[chosen], words


def _feasible(programme: CrossEntropyProgramme, X: Float[np.ndarray, "K K"]) -> Float[np.ndarray, "K K"]:
    """X with columns that sum to 0, and of the norm that a budget allows, all of which an optimum uses."""
    centred = programme.centred(X)
    with np.errstate(all="ignore"):  # an X that is 0 or overflows is nobody's optimum, and its gap will tell
        if programme.has_budget:
            centred = centred * np.divide(programme.budget, nuclear_norm(centred))
    return centred if np.isfinite(centred).all() else np.zeros_like(X)


def _rank_at_optimum(programme: CrossEntropyProgramme, X: Float[np.ndarray, "K K"]) -> int:
    """The rank of the optimum that X is near to: 0 only where a price exceeds all that X could save.

    A singular value of X is positive there only where one of G is the multiplier. Of the two distances, relative to the
    largest, the larger one is real and the smaller one the solver's error.
    """
    G = np.linalg.svd(programme.residual(X), compute_uv=False)
    S = np.linalg.svd(programme.centred(X), compute_uv=False)
    if not programme.has_budget and programme.multiplier(np.zeros_like(X)) <= programme.price:
        return 0
    return max(1, int(((1 - G / G[0]) * S[0] < S).sum()))


def _lifted(
    problem: Problem, programme: CrossEntropyProgramme, X: Float[np.ndarray, "K K"], ratio: float, words: str
) -> LayerPeeledOptimum:
    """The answer for all samples, with everything said about it computed from X."""
    value, gap = programme.value(X), programme.gap(X)
    if value == 0.0:
        raise ValueError("the smallest loss must be above 1e-308, but it is less: lower the energies.")
    checked_gap(value, gap, words)
    rank, state = balanced_factors(problem, X, programme.scales, ratio)
    y = problem.labels.numpy()
    return LayerPeeledOptimum(
        value=value,
        logits=torch.from_numpy((X / programme.scales)[:, y].copy()),
        state=state,
        multiplier=programme.multiplier(X),
        duality_gap=gap,
        # ‖(A Aᵀ)^{1/2} − (B Bᵀ)^{1/2}‖_F ≤ √2 ‖A − B‖_F: Araki and Yamagami, 1981.
        gram_error=ratio * math.sqrt(2) * programme.distance_bound(X),
        rank=rank,
        tight=state is not None,
        status=optimum_status(gap / value, rank, problem.feature_dim),
    )


def checked_gap(value: float, gap: float, words: str) -> None:
    """Raises: ValueError with the ``words`` of a solver if the gap is more than answers may have."""
    if not gap <= _LARGEST_GAP * value:
        raise ValueError(
            f"{words}, but the duality gap is {gap:.1e} for a value of {value:.1e}: use another solver, "
            "or norms that leave a larger loss."
        )


def balanced_factors(
    problem: Problem, X: Float[np.ndarray, "K K"], scales: Float[np.ndarray, " K"], ratio: float
) -> tuple[int, State | None]:
    """rank X, and W H = X diag(1/s) spread over samples with WᵀW = ``ratio``·(means diag(s²) meansᵀ), if it fits."""
    d, y = problem.feature_dim, problem.labels.numpy()
    U, S, Vh = np.linalg.svd(X)
    rank = int((len(S) * np.finfo(float).eps * S[0] < S).sum())
    roots, shape = np.sqrt(S[:rank]), math.sqrt(ratio)
    if rank > d:
        return rank, None
    W = np.pad(shape * U[:, :rank] * roots, ((0, 0), (0, d - rank)))
    means = np.pad(roots[:, None] * Vh[:rank] / scales / shape, ((0, d - rank), (0, 0)))
    return rank, State(torch.from_numpy(W), torch.from_numpy(means[:, y].copy()))
