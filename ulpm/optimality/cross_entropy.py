"""Mean cross-entropy with a budget or a price on the nuclear norm: a convex programme, and what any point of it proves.

    f(X) = Σ_k π_k [ logsumexp(z_k) − Z_kk ],   X = Z diag(s),   −∇f(X) = G(X),  column k of G = (π_k/s_k)(e_k − p_k)

    with a budget τ:  min f(X)  subject to  ‖X‖_* ≤ τ          with a price μ:  min f(X) + μ‖X‖_*

Column k of Z holds the logits of class k, of which π_k is the share of all samples, and p_k is its softmax. As f is
convex, f(X*) ≥ f(X) − ⟨G, X* − X⟩, and ⟨G, X*⟩ ≤ ‖G‖_op ‖X*‖_*: any point bounds the optimum from below, by itself.
"""

import dataclasses
import math

import numpy as np
from jaxtyping import Float

from ulpm.optimality.programme import nuclear_norm

__all__ = ["CrossEntropyProgramme"]

_EPSILON = float(np.finfo(float).eps)
_BISECTIONS = 60


@dataclasses.dataclass(frozen=True)
class CrossEntropyProgramme:
    """The programme with ``shares`` π [K], ``scales`` s [K] and either a finite ``budget`` τ or a positive ``price`` μ.

    Plain numpy in float64; whatever it says about a point X [K, K] follows from the point and from nothing else.
    """

    shares: Float[np.ndarray, " K"]
    scales: Float[np.ndarray, " K"]
    budget: float = math.inf
    price: float = 0.0

    @property
    def has_budget(self) -> bool:
        """Whether the norm is limited, and not paid for."""
        return math.isfinite(self.budget)

    def loss(self, X: Float[np.ndarray, "K K"]) -> float:
        """f(X), from gaps and hence to full relative precision however small it is."""
        return float(self.shares @ np.logaddexp(0.0, _log_odds(self._gaps(X))))

    def value(self, X: Float[np.ndarray, "K K"]) -> float:
        """What is minimised: f(X), and with a price f(X) + μ‖X‖_*."""
        return self.loss(X) + self.price * nuclear_norm(X)

    def probabilities(self, X: Float[np.ndarray, "K K"]) -> Float[np.ndarray, "K K"]:
        """p_jk, the softmax of each column, with 0 on the diagonal: 1 − p_kk is the sum of its column."""
        gaps = self._gaps(X)
        wrong: Float[np.ndarray, "K K"] = np.exp(gaps - np.logaddexp(0.0, _log_odds(gaps)))
        return wrong

    def residual(self, X: Float[np.ndarray, "K K"]) -> Float[np.ndarray, "K K"]:
        """G(X) = −∇f(X), whose columns sum to 0."""
        wrong = self.probabilities(X)
        G: Float[np.ndarray, "K K"] = (np.diag(wrong.sum(0)) - wrong) * (self.shares / self.scales)
        return G

    def curvature(self, X: Float[np.ndarray, "K K"], dX: Float[np.ndarray, "K K"]) -> Float[np.ndarray, "K K"]:
        """∇²f(X)[dX], whose columns sum to 0: column k is (π_k/s_k²)(diag(p_k) − p_k p_kᵀ) dx_k."""
        wrong = self.probabilities(X)
        relative = dX - np.diag(dX)
        change = wrong * (relative - (wrong * relative).sum(0))
        image: Float[np.ndarray, "K K"] = (change - np.diag(change.sum(0))) * (self.shares / self.scales**2)
        return image

    def multiplier(self, X: Float[np.ndarray, "K K"]) -> float:
        """‖G(X)‖_op: at the optimum the price, or what a budget is worth, −d(min f)/dτ."""
        return float(np.linalg.norm(self.residual(X), 2))

    def gap(self, X: Float[np.ndarray, "K K"]) -> float:
        """An upper bound of value(X) − optimum, for X within the budget if there is one, and 0 at the optimum.

        τ‖G‖_op − ⟨G, X⟩, or μ‖X‖_* − ⟨G, X⟩ + max(‖G‖_op − μ, 0) value(X)/μ, as f ≥ 0 makes ‖X*‖_* ≤ value(X)/μ.
        """
        G, multiplier = self.residual(X), self.multiplier(X)
        if self.has_budget:
            return self.budget * multiplier - float((G * X).sum())
        beyond = max(multiplier - self.price, 0.0) * self.value(X) / self.price
        return self.price * nuclear_norm(X) - float((G * X).sum()) + beyond

    def distance_bound(self, X: Float[np.ndarray, "K K"]) -> float:
        """A bound of ‖X − X*‖_F for the optimum X*, columns summing to 0 in both; inf if the gap is too wide for one.

        The gap leaves room for f(X*) − f(X) + ⟨G, X* − X⟩ = Σ_k (a remainder of a log-sum-exp). Its third derivative
        along δ is at most (max δ − min δ) times its second, so that a remainder is at least ψ(r) δᵀ(diag p − p pᵀ)δ,
        ψ(r) = (e^{−r} + r − 1)/r² with r = max δ − min δ ≤ √2‖δ‖: Bach, "Self-concordant analysis for logistic
        regression", 2010. The gap is taken with the rounding that its terms may hide.
        """
        size = max(self.value(X), self.multiplier(X) * nuclear_norm(X))
        allowed = max(self.gap(X), 0.0) + len(X) * _EPSILON * size
        curvature = self.shares / self.scales**2 * self._least_variances(X)
        range_per_distance = math.sqrt(2) / self.scales.min()

        def remainder(distance: float) -> float:
            r = range_per_distance * distance
            # The exact form cancels for small r, where r²ψ(r) ≥ r²/2 − r³/6.
            shape = r * r / 2 - r**3 / 6 if r < 1e-3 else np.exp(-r) + r - 1
            return float(curvature.min() * shape / range_per_distance**2)

        low, high = 0.0, max(1.0, nuclear_norm(X))
        if not remainder(high) > allowed:
            return math.inf
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            low, high = (low, middle) if remainder(middle) > allowed else (middle, high)
        return high

    def _gaps(self, X: Float[np.ndarray, "K K"]) -> Float[np.ndarray, "K K"]:
        """Z_jk − Z_kk, with −inf on the diagonal."""
        gaps: Float[np.ndarray, "K K"] = (X - np.diag(X)) / self.scales
        np.fill_diagonal(gaps, -np.inf)
        return gaps

    def _least_variances(self, X: Float[np.ndarray, "K K"]) -> Float[np.ndarray, " K"]:
        """For each class the smallest δᵀ(diag p − p pᵀ)δ over unit vectors δ whose entries sum to 0."""
        wrong = self.probabilities(X)
        p = wrong + np.diag(1 - wrong.sum(0))
        # The vector of ones is the null vector of each; raised by the trace, it is no longer the smallest.
        covariances = np.einsum("jk,ij->kij", p, np.eye(len(p))) - np.einsum("ik,jk->kij", p, p)
        return np.linalg.eigvalsh(covariances + np.ones_like(p))[:, 0]


def _log_odds(gaps: Float[np.ndarray, "K K"]) -> Float[np.ndarray, " K"]:
    """x_k = logsumexp_{j≠k} of the gaps."""
    log_odds: Float[np.ndarray, " K"] = np.logaddexp.reduce(gaps, axis=0)
    return log_odds
