"""From a solver's answer, right to some digits, to the optimum in full precision: Newton's method in factors.

At the optimum X = A B with balanced factors A [K, r], B [r, M], and only its rank r and its active constraints 𝒜 are
taken from the solver. They turn the programme into smooth equations, the KKT conditions of ½‖A‖² + ½‖B‖²:

    A = G(μ) Bᵀ,    B = Aᵀ G(μ),    gap_{jm}(A B) = b_{jm} on 𝒜,    μ = 0 off 𝒜

Rotations of the factors, and multipliers that are not unique, make the Jacobian singular. It is symmetric, and each
step is the least-squares one of smallest norm. 𝒜 is read again from every iterate, which makes this a semismooth Newton
method for the complementarity conditions.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float

from ulpm.optimality.newton import Jacobian, Parts, newton
from ulpm.optimality.programme import MarginProgramme

__all__ = ["Point", "polish", "rank_at_optimum"]

_NEWTON_STEPS = 8


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

    def equations(at: Parts) -> tuple[Parts, Parts, Jacobian]:
        A, B, multipliers = at
        active = _active(programme, Point(A, B, multipliers))
        point = Point(A, B, multipliers * active)
        residual = _residual(programme, point, active)
        return (A, B, point.multipliers), residual, lambda: _jacobian(programme, point, active)

    return Point(*newton((start.A, start.B, start.multipliers), equations, _NEWTON_STEPS))


def _active(programme: MarginProgramme, point: Point) -> Bool[np.ndarray, "K M"]:
    """Where the multiplier, in units of its column's largest, exceeds the slack, in units of the bound."""
    slack = programme.gaps(point.X) - programme.bounds
    active: Bool[np.ndarray, "K M"] = point.multipliers * programme.bounds > slack * point.multipliers.max(0)
    return active


def _residual(programme: MarginProgramme, point: Point, active: np.ndarray) -> Parts:
    """Minus the gradient of ½‖A‖² + ½‖B‖² + Σ_𝒜 μ (b − gap(A B)) in A, B and μ."""
    A, B, G = point.A, point.B, programme.adjoint(point.multipliers)
    return G @ B.T - A, A.T @ G - B, active * (programme.gaps(point.X) - programme.bounds)


def _jacobian(programme: MarginProgramme, point: Point, active: np.ndarray) -> Callable[[Parts], Parts]:
    """The second derivative of the same function as a map of directions, whose multipliers are 0 off 𝒜."""
    A, B, G = point.A, point.B, programme.adjoint(point.multipliers)

    def apply(direction: Parts) -> Parts:
        dA, dB, d_multipliers = direction
        dG = programme.adjoint(d_multipliers)
        return dA - G @ dB.T - dG @ B.T, dB - dA.T @ G - A.T @ dG, -programme.gaps(dA @ B + A @ dB) * active

    return apply
