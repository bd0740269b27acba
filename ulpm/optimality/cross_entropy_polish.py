"""From a solver's answer to the optimum of the cross-entropy programme in full precision: Newton's method in factors.

Only the rank r of X is taken from the solver. With X = A B, A [K, r], B [r, K], the KKT conditions are smooth:

    ν A = G(X) Bᵀ,    ν B = Aᵀ G(X),    and with a budget  ½‖A‖² + ½‖B‖² = τ;  with a price μ,  ν = μ.

Rotations of the factors make the Jacobian singular. It is symmetric, and each step is the least-squares one of smallest
norm. Everything is divided by a first guess of ν, so that the equations have the size of the factors.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from ulpm.optimality.cross_entropy import CrossEntropyProgramme
from ulpm.optimality.newton import Parts, newton

__all__ = ["polish_cross_entropy"]

_NEWTON_STEPS = 12


def polish_cross_entropy(
    programme: CrossEntropyProgramme, X: Float[np.ndarray, "K K"], rank: int
) -> Float[np.ndarray, "K K"]:
    """The stationary point of this rank next to X, to rounding; where Newton's method fails, its best iterate.

    The result may be worse than X, whose rank may be wrong: compare the gaps.
    """
    U, S, Vh = np.linalg.svd(programme.centred(X), full_matrices=False)
    roots = np.sqrt(S[:rank])
    scale = programme.multiplier(X) if programme.has_budget else programme.price
    unit = dataclasses.replace(programme, shares=programme.shares / scale)
    start = U[:, :rank] * roots, roots[:, None] * Vh[:rank], np.ones(1)
    A, B, _ = newton(start, lambda at: (at, _residual(unit, at), lambda: _jacobian(unit, at)), _NEWTON_STEPS)
    polished: Float[np.ndarray, "K K"] = A @ B
    return polished


def _residual(programme: CrossEntropyProgramme, point: Parts) -> Parts:
    """Minus the gradient of f(A B) + ν(½‖A‖² + ½‖B‖² − τ) in A, B and ν."""
    A, B, price = point
    G = programme.residual(A @ B)
    excess = np.zeros(1)
    if programme.has_budget:
        excess = np.array([programme.budget - (np.vdot(A, A) + np.vdot(B, B)) / 2])
    return G @ B.T - price * A, A.T @ G - price * B, excess


def _jacobian(programme: CrossEntropyProgramme, point: Parts) -> Callable[[Parts], Parts]:
    """The second derivative of the same function as a map of directions."""
    A, B, price = point
    X = A @ B
    G, free, curvature = programme.residual(X), float(programme.has_budget), programme.hessian(X)

    def apply(direction: Parts) -> Parts:
        dA, dB, d_price = direction
        dG = -curvature(dA @ B + A @ dB)
        norm_change = np.array([np.vdot(A, dA) + np.vdot(B, dB)])
        return (
            price * dA + free * d_price * A - G @ dB.T - dG @ B.T,
            price * dB + free * d_price * B - dA.T @ G - A.T @ dG,
            free * norm_change,
        )

    return apply
