"""Mean cross-entropy with a budget or a price on the nuclear norm: a convex programme, and what any point of it proves.

    f(X) = Σ_k π_k [ logsumexp(z_k) − ⟨y_k, z_k⟩ ],  X = Z diag(s),   column k of G = −∇f(X) is (π_k/s_k)(y_k − p_k)

    with a budget τ:  min f(X)  subject to  ‖X‖_* ≤ τ          with a price μ:  min f(X) + μ‖X‖_*

Column k of Z holds the logits of class k, of which π_k is the share of all samples, p_k is its softmax, and y_k its
label, e_k or, smoothed by α, (1 − α)e_k + α1/K. As f is convex, f(X*) ≥ f(X) − ⟨G, X* − X⟩, and ⟨G, X*⟩ ≤ ‖G‖_op
‖X*‖_*: any point bounds the optimum from below, by itself. With a bias the logits are X diag(1/s) + b1ᵀ, and f(X) is
the least over b: convex as well, with the same G at the best b, where Σ_k s_k G_k = 0.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float

from ulpm.losses import CrossEntropy
from ulpm.optimality.bias import best_bias
from ulpm.optimality.programme import nuclear_norm

__all__ = ["CrossEntropyProgramme"]

_EPSILON = float(np.finfo(float).eps)
_BISECTIONS = 60


@dataclasses.dataclass(frozen=True)
class CrossEntropyProgramme:
    """The programme with ``shares`` π [K], ``scales`` s [K] and either a finite ``budget`` τ or a positive ``price`` μ.

    Labels are smoothed by ``smoothing`` α; ``bias`` says whether logits have one. Plain numpy in float64; whatever it
    says about a point X [K, K] follows from the point and from nothing else.
    """

    shares: Float[np.ndarray, " K"]
    scales: Float[np.ndarray, " K"]
    budget: float = math.inf
    price: float = 0.0
    smoothing: float = 0.0
    bias: bool = False

    @property
    def has_budget(self) -> bool:
        """Whether the norm is limited, and not paid for."""
        return math.isfinite(self.budget)

    @property
    def least_loss(self) -> float:
        """inf f: 0, or the entropy of a smoothed label."""
        return float(self.shares.sum()) * CrossEntropy(self.smoothing).least(len(self.shares))

    def loss(self, X: Float[np.ndarray, "K K"]) -> float:
        """f(X), from gaps and hence to full relative precision however small it is."""
        gaps = self._gaps(X)
        losses = np.logaddexp(0.0, _log_odds(gaps))
        if self.smoothing:
            np.fill_diagonal(gaps, 0.0)
            losses -= self.smoothing / len(X) * gaps.sum(0)
        return float(self.shares @ losses)

    def best_bias(self, X: Float[np.ndarray, "K K"]) -> Float[np.ndarray, " K"]:
        """The b that f(X) is taken at, of sum 0; zeros without a bias."""
        if not self.bias:
            return np.zeros(len(X))
        rows = torch.arange(len(X), device="cpu")[None]
        weights = torch.from_numpy(self.shares / self.shares.sum())[None]
        b: Float[np.ndarray, " K"] = best_bias(
            CrossEntropy(self.smoothing), torch.from_numpy(X / self.scales), rows, weights=weights
        ).numpy()
        centred: Float[np.ndarray, " K"] = b - b.mean()
        return centred

    def centred(self, X: Float[np.ndarray, "K K"]) -> Float[np.ndarray, "K K"]:
        """X less what raises the norm and not f: column means, and with a bias what b can stand for, v sᵀ."""
        centred: Float[np.ndarray, "K K"] = X - X.mean(0)
        if self.bias:
            centred = centred - np.outer(centred @ self.scales, self.scales) / (self.scales @ self.scales)
        return centred

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
        if self.smoothing:
            wrong -= self.smoothing / len(X) * (1 - np.eye(len(X)))
        G: Float[np.ndarray, "K K"] = (np.diag(wrong.sum(0)) - wrong) * (self.shares / self.scales)
        return G

    def curvature(self, X: Float[np.ndarray, "K K"], dX: Float[np.ndarray, "K K"]) -> Float[np.ndarray, "K K"]:
        """∇²f(X)[dX], whose columns sum to 0: without a bias column k is (π_k/s_k²)(diag(p_k) − p_k p_kᵀ) dx_k."""
        return self.hessian(X)(dX)

    def hessian(self, X: Float[np.ndarray, "K K"]) -> Callable[[Float[np.ndarray, "K K"]], Float[np.ndarray, "K K"]]:
        """∇²f(X) as a map of directions."""
        wrong = self.probabilities(X)

        def fixed(dX: Float[np.ndarray, "K K"]) -> Float[np.ndarray, "K K"]:
            relative = dX - np.diag(dX)
            change = wrong * (relative - (wrong * relative).sum(0))
            image: Float[np.ndarray, "K K"] = (change - np.diag(change.sum(0))) * (self.shares / self.scales**2)
            return image

        if not self.bias:
            return fixed
        # The best b moves so that Σ_k s_k G_k stays 0: the Schur complement in b, whose null vector is 1.
        of_bias = np.stack([fixed(np.outer(e, self.scales)) @ self.scales for e in np.eye(len(X))])
        inverse = np.linalg.pinv((of_bias + of_bias.T) / 2, hermitian=True)

        def reduced(dX: Float[np.ndarray, "K K"]) -> Float[np.ndarray, "K K"]:
            db = -inverse @ (fixed(dX) @ self.scales)
            return fixed(dX + np.outer(db, self.scales))

        return reduced

    def multiplier(self, X: Float[np.ndarray, "K K"]) -> float:
        """‖G(X)‖_op: at the optimum the price, or what a budget is worth, −d(min f)/dτ."""
        return float(np.linalg.norm(self.residual(X), 2))

    def gap(self, X: Float[np.ndarray, "K K"]) -> float:
        """An upper bound of value(X) − optimum, for X within the budget if there is one, and 0 at the optimum.

        τ‖G‖_op − ⟨G, X⟩, or μ‖X‖_* − ⟨G, X⟩ + max(‖G‖_op − μ, 0) (value(X) − inf f)/μ, as ‖X*‖_* is no more than the
        last factor.
        """
        G, multiplier = self.residual(X), self.multiplier(X)
        if self.has_budget:
            return self.budget * multiplier - float((G * X).sum())
        beyond = max(multiplier - self.price, 0.0) * (self.value(X) - self.least_loss) / self.price
        return self.price * nuclear_norm(X) - float((G * X).sum()) + beyond

    def distance_bound(self, X: Float[np.ndarray, "K K"]) -> float:
        """A bound of ‖X − X*‖_F for the optimum X*, columns summing to 0 in both; inf if the gap is too wide for one.

        There is none with a bias: inf.

        The gap leaves room for f(X*) − f(X) + ⟨G, X* − X⟩ = Σ_k (a remainder of a log-sum-exp). Its third derivative
        along δ is at most (max δ − min δ) times its second, so that a remainder is at least ψ(r) δᵀ(diag p − p pᵀ)δ,
        ψ(r) = (e^{−r} + r − 1)/r² with r = max δ − min δ ≤ √2‖δ‖: Bach, "Self-concordant analysis for logistic
        regression", 2010. The gap is taken with the rounding that its terms may hide.
        """
        if self.bias:
            return math.inf
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
        if self.bias:
            b = self.best_bias(X)
            gaps += b[:, None] - b
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
