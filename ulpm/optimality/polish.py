"""From a solver's answer, right to some digits, to the optimum in full precision: Newton's method in factors.

At the optimum X = A B with balanced factors A [K, r], B [r, M], and only its rank r and its active constraints 𝒜 are
taken from the solver. They turn the programme into smooth equations, the KKT conditions of ½‖A‖² + ½‖B‖²:

    A = G(μ) Bᵀ,    B = Aᵀ G(μ),    gap_{jm}(A B) = b_{jm} on 𝒜,    μ = 0 off 𝒜

Rotations of the factors, and multipliers that are not unique, make the Jacobian singular. It is symmetric, and each
step is the least-squares one of smallest norm. 𝒜 is read anew from every iterate, which makes this a semismooth Newton
method for the complementarity conditions.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float

from ulpm.optimality.programme import MarginProgramme

__all__ = ["Point", "polish", "rank_at_optimum"]

_NEWTON_STEPS = 8
# A Newton step doubles the digits, so that more than these few of it are not needed at once.
_INNER_TOLERANCE = 1e-6
_INNER_STEPS = 10_000
_ROUNDING = 4 * np.finfo(float).eps

Triple = tuple[np.ndarray, np.ndarray, np.ndarray]  # parts that go with A, B and μ


@dataclasses.dataclass(frozen=True)
class Point:
    """Factors of X = A B and multipliers μ, 0 on the label rows."""

    A: Float[np.ndarray, "K r"]
    B: Float[np.ndarray, "r M"]
    multipliers: Float[np.ndarray, "K M"]

    @classmethod
    def from_solution(cls, X: Float[np.ndarray, "K M"], multipliers: Float[np.ndarray, "K M"], rank: int) -> "Point":
        """Balanced factors of the best approximation of X by ``rank``; less the column means, which no gap needs."""
        U, S, Vh = np.linalg.svd(X - X.mean(0), full_matrices=False)
        roots = np.sqrt(S[:rank])
        return cls(U[:, :rank] * roots, roots[:, None] * Vh[:rank], multipliers)

    @property
    def X(self) -> Float[np.ndarray, "K M"]:
        """A B."""
        product: Float[np.ndarray, "K M"] = self.A @ self.B
        return product

    @property
    def rank(self) -> int:
        """r."""
        return int(self.A.shape[1])

    def __add__(self, step: Triple) -> "Point":
        dA, dB, d_multipliers = step
        return Point(self.A + dA, self.B + dB, self.multipliers + d_multipliers)


def rank_at_optimum(
    programme: MarginProgramme, X: Float[np.ndarray, "K M"], multipliers: Float[np.ndarray, "K M"]
) -> int:
    """The rank of the optimum that (X, μ) is near to, at least 1.

    A singular value of X is positive there only where one of G(μ) is 1. Of the two distances, to 0 and to 1, the larger
    one is real and the smaller one the solver's error.
    """
    G = programme.adjoint(programme.feasible_multipliers(multipliers))
    distance = 1 - np.linalg.svd(G, compute_uv=False)
    S = np.linalg.svd(X - X.mean(0), compute_uv=False)
    return max(1, int((distance * S[0] < S).sum()))


def polish(programme: MarginProgramme, start: Point) -> Point:
    """The KKT point next to ``start``, to rounding; where Newton's method fails, its best iterate.

    The result may be worse than ``start``, whose rank or active set may be wrong: compare the bounds that they prove.
    """
    point = best = start
    smallest, stalls = np.inf, 0
    with np.errstate(all="ignore"):  # a step that leads nowhere may overflow
        for _ in range(_NEWTON_STEPS):
            active = _active(programme, point)
            point = dataclasses.replace(point, multipliers=point.multipliers * active)
            residual = _residual(programme, point, active)
            size = np.divide(_norm(residual), _norm((point.A, point.B, point.multipliers)))
            stalls += not size < smallest / 2
            if size < smallest:
                best, smallest = point, size
            if smallest < _ROUNDING or stalls == 2 or not np.isfinite(size):
                break
            point = point + _least_squares(_jacobian(programme, point, active), residual)
    return best


def _active(programme: MarginProgramme, point: Point) -> Bool[np.ndarray, "K M"]:
    """Where the multiplier, in units of its column's largest, exceeds the slack, in units of the bound."""
    slack = programme.gaps(point.X) - programme.bounds
    active: Bool[np.ndarray, "K M"] = point.multipliers * programme.bounds > slack * point.multipliers.max(0)
    return active


def _residual(programme: MarginProgramme, point: Point, active: np.ndarray) -> Triple:
    """Minus the gradient of ½‖A‖² + ½‖B‖² + Σ_𝒜 μ (b − gap(A B)) in A, B and μ."""
    A, B, G = point.A, point.B, programme.adjoint(point.multipliers)
    return G @ B.T - A, A.T @ G - B, active * (programme.gaps(point.X) - programme.bounds)


def _jacobian(programme: MarginProgramme, point: Point, active: np.ndarray) -> Callable[[Triple], Triple]:
    """The second derivative of the same function as a map of directions, whose multipliers are 0 off 𝒜."""
    A, B, G = point.A, point.B, programme.adjoint(point.multipliers)

    def apply(direction: Triple) -> Triple:
        dA, dB, d_multipliers = direction
        dG = programme.adjoint(d_multipliers)
        return dA - G @ dB.T - dG @ B.T, dB - dA.T @ G - A.T @ dG, -programme.gaps(dA @ B + A @ dB) * active

    return apply


def _least_squares(operator: Callable[[Triple], Triple], target: Triple) -> Triple:
    """The x of smallest norm that minimises ‖J x − target‖ for symmetric J, by conjugate gradients on J² x = J target.

    Hestenes and Stiefel, "Methods of conjugate gradients for solving linear systems", 1952.
    """
    x = _combine(0.0, target, target, 0.0)
    residual = target
    direction = gradient = operator(residual)
    squared = first = _dot(gradient, gradient)
    for _ in range(_INNER_STEPS):
        if not squared > _INNER_TOLERANCE**2 * first:
            break
        image = operator(direction)
        length = squared / _dot(image, image)
        x = _combine(1.0, x, direction, length)
        residual = _combine(1.0, residual, image, -length)
        gradient = operator(residual)
        before, squared = squared, _dot(gradient, gradient)
        direction = _combine(1.0, gradient, direction, squared / before)
    return x


def _combine(a: float, u: Triple, v: Triple, b: float) -> Triple:
    return a * u[0] + b * v[0], a * u[1] + b * v[1], a * u[2] + b * v[2]


def _dot(u: Triple, v: Triple) -> float:
    return float(sum(np.vdot(a, b) for a, b in zip(u, v, strict=True)))


def _norm(u: Triple) -> float:
    return float(np.sqrt(_dot(u, u)))
