"""The smallest nuclear norm that separates: the convex relaxation of the margin problem, solved and certified."""

import dataclasses
import functools
import warnings
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ulpm import _checks
from ulpm._extras import needs
from ulpm.optimality.cross_entropy import CrossEntropyProgramme
from ulpm.optimality.polish import Point, polish, rank_at_optimum
from ulpm.optimality.programme import MarginProgramme, nuclear_norm
from ulpm.problem import Problem, checked
from ulpm.state import State

__all__ = ["Separation", "minimum_norm_separation", "optimum_status", "solve_cross_entropy"]

# An interior-point step costs (K + M)^6, a splitting step (K + M)^3: the former is the quicker one up to here.
_LARGEST_FOR_INTERIOR_POINT = 24
_WHO = "The convex programme behind ulpm.minimum_norm_separation and ulpm.optimum"
# Beyond, the eigenvalues of the semidefinite block alone take hours.
_LARGEST_BLOCK = 1000
# Asked for more than is needed, since the polish starts from rank and active set: they must be right.
_SOLVER_OPTIONS: dict[str, dict[str, float]] = {
    "CLARABEL": {"tol_gap_abs": 1e-11, "tol_gap_rel": 1e-11, "tol_feas": 1e-11},
    "SCS": {"eps_abs": 1e-9, "eps_rel": 1e-9, "max_iters": 10_000},
}
# Shares of the value: what the bounds at an optimum may differ by, and what they may where an answer is returned.
_ROUNDING_GAP = 1e-12
_LARGEST_GAP = 1e-6


@dataclasses.dataclass(frozen=True)
class Separation:
    """A solution of the convex relaxation (see minimum_norm_separation) and the proof of how good it is.

    The solution is unique for margins of 1; for others one of smaller rank may exist. In the symmetric form logits and
    multipliers are the same for all samples of a class.

    Attributes:
        value: ‖Z‖_* of the logits.
        logits: Z [K, N], whose margins are feasible.
        multipliers: λ [K, N], dual feasible, 0 on the label rows. They show that no value is below ``value −
            duality_gap``.
        state: The lift of Z to balanced factors, ½‖W‖² + ½‖H‖² = value, WᵀW = HHᵀ, smallest margin 1 (smallest ratio of
            a margin to what was asked for). None if the solution is not tight; the value still bounds the minimum norm
            from below.
        duality_gap: Absolute, computed from the returned logits and multipliers.
        rank: That of Z.
        tight: Whether the rank fits into d features.
        status: All this in a sentence.

    >>> answer = ulpm.minimum_norm_separation(ulpm.Problem([5] * 4, feature_dim=2))
    >>> round(answer.value, 6), answer.tight, answer.state
    (6.708204, False, None)
    """

    value: float
    logits: Float[Tensor, "K N"]
    multipliers: Float[Tensor, "K N"]
    state: State | None
    duality_gap: float
    rank: int
    tight: bool
    status: str


def minimum_norm_separation(
    problem: Problem,
    solver: str | None = None,
    symmetric: bool = True,
    margins: Float[Tensor, "K K"] | None = None,
) -> Separation:
    """The global optimum of the margin problem by its convex relaxation, exact where rank Z* ≤ d.

        min ½(‖W‖² + ‖H‖²)  s.t.  q_{ij} ≥ c_{y_i j}   ≥   min ‖Z‖_*  s.t.  Z_{y_i,i} − Z_{j,i} ≥ c_{y_i j}  (j ≠ y_i)
                                                       =   max Σ c_{y_i j} λ_{ij}  s.t.  ‖G(λ)‖_op ≤ 1,  λ ≥ 0,

    where column i of G(λ) is Σ_j λ_{ij} (e_{y_i} − e_j). As the problem is convex and the samples of a class are alike,
    their logits may be averaged: the ``symmetric`` form is a K × K programme, ‖Z‖_* = ‖Z̄ diag(√n_k)‖_*, and as exact as
    the full one with K × N unknowns, which is there to be compared with. A polish takes only rank and active set from
    the solver, so that the geometry of the result is right to rounding as well and not its value alone. The duality
    gap is computed again from the logits and multipliers that are returned.

    Args:
        problem: Its class counts and d.
        solver: The name of a solver that cvxpy finds; by default CLARABEL for few columns, SCS for many.
        symmetric: Average the logits of each class.
        margins: c [K, K], positive, row the class of the sample, column the other class, diagonal not read. By default
            1.

    Returns:
        A Separation.

    Raises:
        TypeError: For margins that are no floating-point tensor.
        ValueError: For a solver that is not there, fails or returns an answer that is not optimal, for a size out of
            reach, and for margins that are not positive.
        ImportError: If cvxpy is not installed.

    Source: Ji, Lu, Zhang, Deng, Su, "An Unconstrained Layer-Peeled Perspective on Neural Collapse", 2022; for unequal
    counts Thrampoulidis, Kini, Vakilian, Behnia, "Imbalance Trouble: Revisiting Neural-Collapse Geometry", 2022.

    >>> answer = ulpm.minimum_norm_separation(ulpm.Problem([40, 40, 4, 4], feature_dim=3))
    >>> round(answer.value, 6), answer.rank, answer.tight
    (13.014971, 3, True)
    """
    c = _margins(checked(problem), margins)
    K, y = problem.num_classes, problem.labels.numpy()
    # A column of the programme is √(its samples) times their logits.
    if _checks.flag("symmetric", symmetric):
        labels, columns, weights = np.arange(K), y, np.sqrt(problem.class_counts)
    else:
        labels, columns, weights = y, np.arange(len(y)), np.ones(len(y))
    programme = MarginProgramme.with_margins(labels, c, weights / (weights * c[labels].max(1)).max())

    name = _solver_name(solver, K + len(labels), symmetric)
    X, multipliers, words = _solve(programme, name)
    rank = rank_at_optimum(programme, X, multipliers)
    polished = polish(programme, Point.from_solution(X, multipliers, rank))
    point = _better(programme, polished, Point.from_solution(X, multipliers, rank=K - 1))
    return _lifted(problem, c, point, columns, weights, words)


def _margins(problem: Problem, margins: Tensor | None) -> Float[np.ndarray, "K K"]:
    K = problem.num_classes
    if margins is None:
        return np.ones((K, K)) - np.eye(K)
    given = _checks.shape("margins", _checks.floating("margins", margins), K, K)
    if given.ndim != 2:
        raise ValueError(f"margins must have shape [{K}, {K}], but its shape is {list(given.shape)}.")
    c = given.detach().cpu().double().numpy().copy()
    np.fill_diagonal(c, np.inf)
    if c.min() <= 0:
        k, j = np.unravel_index(c.argmin(), c.shape)
        raise ValueError(f"margins must be positive off the diagonal, but margins[{k}, {j}] is {c.min():g}.")
    np.fill_diagonal(c, 0.0)
    return c


def _cvxpy() -> Any:
    """cvxpy, imported where it is first needed: it takes as long as all the rest of the package.

    Raises: ImportError with one sentence that names the extra if it is not installed.
    """
    with needs(_WHO):
        import cvxpy

    return cvxpy


def _solver_name(solver: str | None, block: int, symmetric: bool) -> str:
    """``solver`` as cvxpy spells it, or the one that is best for a semidefinite block of this size."""
    if block > _LARGEST_BLOCK:
        raise ValueError(
            f"the programme has a semidefinite block of {block} rows, but at most {_LARGEST_BLOCK} can be solved: "
            f"use {'fewer classes' if symmetric else 'symmetric=True'}."
        )
    if solver is None:
        return "CLARABEL" if block <= _LARGEST_FOR_INTERIOR_POINT else "SCS"
    if not isinstance(solver, str):
        raise TypeError(f"solver must be the name of a solver or None, but {_checks.shown(solver)} was given.")
    installed = _cvxpy().installed_solvers()
    if solver.upper() not in installed:
        raise ValueError(f"solver {solver!r} is not installed: use one of {', '.join(installed)}.")
    return solver.upper()


@functools.lru_cache(maxsize=32)
def _compiled(num_classes: int, labels: tuple[int, ...]) -> tuple[Any, Any, Any, Any]:
    """(problem, variable X, parameter b, constraint), compiled by cvxpy once and then solved for any bounds."""
    cvxpy, y = _cvxpy(), np.array(labels)
    X = cvxpy.Variable((num_classes, len(y)))
    j, m = np.nonzero(np.arange(num_classes)[:, None] != y)
    bounds = cvxpy.Parameter(len(j))
    constraint = X[y[m], m] - X[j, m] >= bounds
    return cvxpy.Problem(cvxpy.Minimize(cvxpy.normNuc(X)), [constraint]), X, bounds, constraint


def _solve(programme: MarginProgramme, solver: str) -> tuple[np.ndarray, np.ndarray, str]:
    """The solver's X and multipliers [K, M] and what it says about them. Neither is to be trusted."""
    inside = programme.constrained
    task, X, bounds, constraint = _compiled(len(programme.bounds), tuple(programme.labels.tolist()))
    bounds.value = programme.bounds[inside]
    words = _run(task, solver)
    if any(part is None or not np.isfinite(part).all() for part in (X.value, constraint.dual_value)):
        raise ValueError(f"{solver} found no solution and says {task.status!r}: use another solver.")
    multipliers = np.zeros_like(programme.bounds)
    multipliers[inside] = constraint.dual_value
    return X.value, multipliers, words


def _run(task: Any, solver: str) -> str:
    """Let the solver solve a compiled programme; what it says about its answer."""
    with warnings.catch_warnings():
        # Of an inaccurate answer the duality gap says more.
        warnings.simplefilter("ignore", UserWarning)
        try:
            # Without warm start: the answer must not depend on what was solved before.
            task.solve(solver=solver, warm_start=False, **_SOLVER_OPTIONS.get(solver, {}))
        except Exception as error:  # a solver may bring exceptions of its own
            words = " ".join(str(error).split()).rstrip(".").replace(". ", "; ")
            raise ValueError(f"{solver} failed and says {words!r}: use another solver.") from error
    return f"{solver} says {task.status!r}"


def _better(programme: MarginProgramme, polished: Point, start: Point) -> Point:
    """The factors that prove the smaller upper bound with the multipliers that prove the larger lower one.

    Where multipliers are not unique, the polish may leave ‖G‖ ≤ 1 with them although its factors are right. Bounds that
    differ by rounding tell nothing about geometry: then the polished part is taken.
    """
    shorter = programme.upper_bound(polished.X) <= programme.upper_bound(start.X) * (1 + _ROUNDING_GAP)
    A, B = (polished.A, polished.B) if shorter else (start.A, start.B)
    candidates = polished.multipliers, start.multipliers
    proved = [programme.lower_bound(multipliers) for multipliers in candidates]
    return Point(A, B, candidates[0 if proved[0] >= proved[1] * (1 - _ROUNDING_GAP) else 1])


def _lifted(
    problem: Problem, c: np.ndarray, point: Point, columns: np.ndarray, weights: np.ndarray, words: str
) -> Separation:
    """The answer for all samples, scaled to smallest margin 1, with everything said about it computed from itself."""
    programme = MarginProgramme.with_margins(problem.labels.numpy(), c, np.ones(problem.num_samples))
    d, rank = problem.feature_dim, point.rank
    U, S, Vh = np.linalg.svd(point.X, full_matrices=False)
    roots = np.sqrt(S[:rank])
    W, H = U[:, :rank] * roots, (roots[:, None] * Vh[:rank] / weights)[:, columns]
    smallest_margin = programme.smallest_ratio(W @ H)
    if not smallest_margin > 0:
        raise ValueError(f"{words}, but its answer does not separate the classes: use another solver.")
    W, H = W / np.sqrt(smallest_margin), H / np.sqrt(smallest_margin)
    logits, multipliers = W @ H, programme.feasible_multipliers((point.multipliers / weights)[:, columns])
    value = nuclear_norm(logits)
    gap = value - float((programme.bounds * multipliers).sum())
    if not gap <= _LARGEST_GAP * value:
        raise ValueError(f"{words}, but the duality gap is {gap / value:.1e} of the value: use another solver.")
    state = None
    if rank <= d:
        W, H = np.pad(W, ((0, 0), (0, d - rank))), np.pad(H, ((0, d - rank), (0, 0)))
        state = State(torch.from_numpy(W), torch.from_numpy(H))
    return Separation(
        value=value,
        logits=torch.from_numpy(logits),
        multipliers=torch.from_numpy(multipliers),
        state=state,
        duality_gap=gap,
        rank=rank,
        tight=state is not None,
        status=optimum_status(gap / value, rank, d, "the multipliers prove", "minimum norm"),
    )


def optimum_status(
    gap: float, rank: int, d: int, proof: str = "its duality gap proves", bounded: str = "objective"
) -> str:
    """A sentence on a relative gap and whether the rank fits into d."""
    proved = f"optimal up to {max(gap, 0.0):.1e} of the value, as {proof}"
    if rank <= d:
        return f"{proved}, and of rank {rank}, which fits into feature_dim {d}."
    return (
        f"{proved}, but the relaxation is not tight, as the rank {rank} of its solution exceeds feature_dim {d}: "
        f"the value is a lower bound of the {bounded}, and there is no state."
    )


@functools.lru_cache(maxsize=32)
def _compiled_cross_entropy(
    num_classes: int, has_budget: bool, smoothed: bool = False, bias: bool = False
) -> tuple[Any, Any, dict[str, Any]]:
    """(problem, variable Z, parameters), compiled by cvxpy once; the scales hold the price, if there is one.

    With smoothed labels the parameter ``targets`` has the label of each class in a column, times its share.
    """
    cvxpy, K = _cvxpy(), num_classes
    Z = cvxpy.Variable((K, K))
    shapes: dict[str, Any] = {"shares": K, "scales": (K, K)} | ({"budget": ()} if has_budget else {})
    shapes |= {"targets": (K, K)} if smoothed else {}
    given = {name: cvxpy.Parameter(shape, nonneg=True) for name, shape in shapes.items()}
    logits, conditions = Z, []
    if bias:
        b = cvxpy.Variable((K, 1))
        # A number added to all of b changes nothing: without this it would have no value.
        logits, conditions = Z + b @ np.ones((1, K)), [cvxpy.sum(b) == 0]
    if smoothed:
        right = cvxpy.sum(cvxpy.multiply(logits, given["targets"]))
        loss = given["shares"] @ cvxpy.log_sum_exp(logits, axis=0) - right
    else:
        loss = given["shares"] @ (cvxpy.log_sum_exp(logits, axis=0) - cvxpy.diag(logits))
    size = cvxpy.normNuc(cvxpy.multiply(Z, given["scales"]))
    if has_budget:
        return cvxpy.Problem(cvxpy.Minimize(loss), [size <= given["budget"], *conditions]), Z, given
    return cvxpy.Problem(cvxpy.Minimize(loss + size), conditions), Z, given


def solve_cross_entropy(programme: CrossEntropyProgramme, solver: str | None) -> tuple[Float[np.ndarray, "K K"], str]:
    """The solver's X for the layer-peeled models and what it says about it. It is not to be trusted.

    Raises: ValueError or TypeError as minimum_norm_separation does for its solver.
    """
    K = len(programme.scales)
    name = _solver_name(solver, 2 * K, symmetric=True)
    α = programme.smoothing
    task, Z, given = _compiled_cross_entropy(K, programme.has_budget, α > 0, programme.bias)
    given["shares"].value = programme.shares
    if α:
        given["targets"].value = ((1 - α) * np.eye(K) + α / K) * programme.shares
    given["scales"].value = np.tile(programme.scales * (1.0 if programme.has_budget else programme.price), (K, 1))
    if programme.has_budget:
        given["budget"].value = programme.budget
    words = _run(task, name)
    if Z.value is None or not np.isfinite(Z.value).all():
        raise ValueError(f"{name} found no solution and says {task.status!r}: use another solver.")
    return Z.value * programme.scales, words
