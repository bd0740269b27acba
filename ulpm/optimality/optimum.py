"""The least value of Φ, and a state that has it: closed forms where there are any, else a convex programme.

    min_{W,H,b} L(W H + b1ᵀ) + ½λ_W‖W‖² + ½λ_H‖H‖²   =   min_{Z,b} L(Z + b1ᵀ) + √(λ_W λ_H) ‖Z‖_*      for d ≥ rank Z*

The right side is convex for a convex loss, and its optimum is lifted to factors with ‖W‖²/‖H‖² = λ_H/λ_W. By symmetry
Z is Z̄ [K, K] spread over the samples, and X = Z̄ diag(√n_k) has its singular values.
"""

import dataclasses
import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ulpm.losses import CrossEntropy, SquaredError
from ulpm.optimality.cross_entropy import CrossEntropyProgramme
from ulpm.optimality.cross_entropy_path import continued_optimum, equal_counts_optimum
from ulpm.optimality.layer_peeled import balanced_factors, checked_gap, optimal_point
from ulpm.optimality.programme import nuclear_norm
from ulpm.optimality.relaxation import optimum_status
from ulpm.problem import Problem, checked
from ulpm.state import State

__all__ = ["Optimum", "optimum"]


@dataclasses.dataclass(frozen=True, eq=False)
class Optimum:
    """The minimum of Φ over all W, H and b, of whatever dimension, and the proof of it.

    Attributes:
        value: Φ at the logits, summed or averaged over samples as the problem has it.
        logits: W H + b1ᵀ [K, N].
        state: The logits in balanced factors, λ_W WᵀW = λ_H HHᵀ (WᵀW = HHᵀ without decay), which attain the value. None
            if the solution is not tight; the value is a lower bound then.
        duality_gap: No state has Φ below ``value − duality_gap``: absolute, computed from the point that is returned,
            and of the order of rounding, so that it may be negative by that.
        rank: That of W H.
        tight: Whether the rank fits into d features.
        status: All this in a sentence.

    >>> problem = ulpm.Problem([3] * 4, feature_dim=5, weight_decay=(5e-3, 1e-3), reduction="mean")
    >>> answer = ulpm.optimum(problem)
    >>> round(float(answer.logits[0, 0] - answer.logits[1, 0]), 9), answer.rank, answer.tight
    (5.542043201, 3, True)
    """

    value: float
    logits: Float[Tensor, "K N"]
    state: State | None
    duality_gap: float
    rank: int
    tight: bool
    status: str


@dataclasses.dataclass(frozen=True)
class _Point:
    """X [K, K] and b [K] with the summed Φ and its gap."""

    X: Float[np.ndarray, "K K"]
    b: Float[np.ndarray, " K"]
    value: float
    gap: float


def optimum(problem: Problem, solver: str | None = None) -> Optimum:
    """The global minimum of Φ, exact where rank Z* ≤ d: always for d ≥ K − 1, for squared error without bias d ≥ K.

    With decay, and c = √(λ_W λ_H) for a summed loss, N√(λ_W λ_H) for a mean one:

        squared error    X = U (Σ − c)_+ Vᵀ for diag(√n_k) = UΣVᵀ, or with a bias (I − π1ᵀ) diag(√n_k) = UΣVᵀ, b = π =
                         (n_k/N) (singular value thresholding: Cai, Candès, Shen, 2010; Tirer and Bruna, 2022)
        cross-entropy    for equal counts n Z̄ = q(I − 11ᵀ/K) and b = 0, q = log[(1 − (K − 1)p)/p], p = α/K + c/(K√n) for
                         a sum, α/K + √(nλ_Wλ_H) for a mean; 0 exactly if p ≥ 1/K (Zhu et al., 2021, for α = 0). For
                         other counts a solver's answer or a continued closed form, polished to rounding

    Without decay Φ is least at Z = Y (less row means, with a bias) for squared error, and for smoothed labels where all
    margins are log(1 + K(1 − α)/α).

    Args:
        problem: One that something finite minimises: both decays positive, or a loss like squared error.
        solver: The name of one that cvxpy finds and that knows exponential cones. Only cross-entropy with decay and
            unequal counts asks it.

    Returns:
        An Optimum.

    Raises:
        TypeError: If ``problem`` is none.
        ValueError: Where nothing finite minimises Φ, for the focal loss with decay, which is not convex, and for a
            solver that is not there or fails.
        ImportError: If a solver is needed and cvxpy is not installed.

    Source: Zhu, Ding, Zhou, Li, You, Sulam, Qu, "A geometric analysis of neural collapse with unconstrained features",
    2021; Tirer, Bruna, "Extended unconstrained features model for exploring deep neural collapse", 2022; Cai, Candès,
    Shen, "A singular value thresholding algorithm for matrix completion", 2010.

    >>> decays = (5e-3, 5e-3)
    >>> problem = ulpm.Problem([5] * 4, feature_dim=4, loss=ulpm.SquaredError(), weight_decay=decays, reduction="mean")
    >>> answer = ulpm.optimum(problem)
    >>> print(f"{torch.linalg.matrix_norm(answer.logits, 2):.9f}")
    2.136067977
    """
    loss = checked(problem).loss
    _must_be_attained(problem)
    λ_W, λ_H = problem.weight_decay
    price = math.sqrt(λ_W) * math.sqrt(λ_H) * problem.samples_per_unit
    if isinstance(loss, SquaredError):
        point = _of_squared_error(problem, price)
    else:
        # Convex and no squared error: cross-entropy, or the focal loss of γ = 0, which is the same.
        smoothing = loss.label_smoothing if isinstance(loss, CrossEntropy) else 0.0
        point = _of_cross_entropy(problem, smoothing, price, solver)
    roots = _roots(problem)
    ratio = math.sqrt(λ_H / λ_W) if problem.decayed else 1.0
    rank, state = balanced_factors(problem, point.X, roots, ratio)
    if state is not None and problem.bias:
        state = State(state.W, state.H, torch.from_numpy(point.b))
    value, gap = point.value / problem.samples_per_unit, point.gap / problem.samples_per_unit
    logits = point.X / roots + point.b[:, None]
    return Optimum(
        value=value,
        logits=torch.from_numpy(logits[:, problem.labels.numpy()].copy()),
        state=state,
        duality_gap=gap,
        rank=rank,
        tight=state is not None,
        status=optimum_status(gap / value if value else gap, rank, problem.feature_dim),
    )


def _must_be_attained(problem: Problem) -> None:
    loss = problem.loss
    if problem.decayed and not min(problem.weight_decay) > 0:
        raise ValueError(
            "with only one decay positive no state minimises the objective, as what one factor loses the other gains "
            "and norms grow without bound: give two positive decays, or none."
        )
    if problem.decayed and not loss.convex:
        raise ValueError(
            f"the {loss.name} loss with decay is not convex in the logits, so that no convex programme gives its "
            "optimum: run ulpm.gradient_flow from several starts instead."
        )
    if not problem.attained:
        raise ValueError(
            f"without decay the {loss.name} loss falls for ever and no state minimises it: see minimum_norm_separation "
            "for the direction in which it falls, or give weight_decay=(λ_W, λ_H)."
        )


def _roots(problem: Problem) -> Float[np.ndarray, " K"]:
    """√n_k, the scales of X."""
    roots: Float[np.ndarray, " K"] = np.sqrt(np.array(problem.class_counts, dtype=float))
    return roots


def _of_squared_error(problem: Problem, price: float) -> _Point:
    """½‖X + b√nᵀ − diag(√n)‖² + c‖X‖_*, whose dual point is U min(Σ, c) Vᵀ."""
    roots = _roots(problem)
    Y = np.diag(roots)
    b = np.zeros(len(roots))
    if problem.bias:
        b = np.array(problem.class_counts) / problem.num_samples
    target = Y - np.outer(b, roots)
    if not price:
        return _Point(target, b, 0.0, float(np.square(target + np.outer(b, roots) - Y).sum()) / 2)
    U, S, Vh = np.linalg.svd(target)
    X, G = U * np.maximum(S - price, 0.0) @ Vh, U * np.minimum(S, price) @ Vh
    if problem.bias:
        # The null direction √n of the target must not enter by its rounding.
        G = G - np.outer(G @ roots, roots) / problem.num_samples
    if S[0] <= price:
        X = np.zeros_like(Y)
    value = float(np.square(X + np.outer(b, roots) - Y).sum()) / 2 + price * nuclear_norm(X)
    G = G * min(1.0, price / float(np.linalg.norm(G, 2)))
    return _Point(X, b, value, value - float((G * Y).sum() - np.square(G).sum() / 2))


def _of_cross_entropy(problem: Problem, smoothing: float, price: float, solver: str | None) -> _Point:
    """N f(X) + c‖X‖_*, f the mean loss."""
    K, N, roots = problem.num_classes, problem.num_samples, _roots(problem)
    shares = np.array(problem.class_counts) / N
    programme = CrossEntropyProgramme(shares, roots, price=price / N, smoothing=smoothing, bias=problem.bias)
    nothing = np.zeros((K, K))
    if not price:
        odds = K * (1 - smoothing) / smoothing
        # The smallest α, beside which 1 − α is 1, have no quotient.
        margin = math.log1p(odds) if odds < math.inf else math.log(K) - math.log(smoothing)
        X, least = margin * (np.eye(K) - 1 / K) * roots, programme.least_loss
        return _Point(X, np.zeros(K), N * least, N * (programme.loss(X) - least))
    words = "the closed form for equal counts was taken"
    if programme.multiplier(nothing) <= programme.price:
        X = nothing
    elif problem.balanced:
        closed = equal_counts_optimum(programme)
        X = nothing if closed is None else closed
    else:
        continued = continued_optimum(programme) if solver is None else None
        X, words = (continued, words) if continued is not None else optimal_point(programme, solver)
    value, gap = programme.value(X), programme.gap(X)
    checked_gap(value, gap, words)
    return _Point(X, programme.best_bias(X), N * value, N * gap)
