"""The convex relaxation of the margin problem as a pair of dual programmes over matrices with labelled columns.

    min ‖X‖_*   subject to   X_{y_m,m} − X_{j,m} ≥ b_{jm}  for j ≠ y_m
    max Σ_{jm} b_{jm} μ_{jm}   subject to   ‖G(μ)‖_op ≤ 1,  μ ≥ 0,   column m of G(μ) being Σ_j μ_{jm} (e_{y_m} − e_j)

A column is a sample, or a class whose samples share their logits: then Z̄ diag(√n_k) takes the part of X.
"""

import dataclasses
import math

import numpy as np
from jaxtyping import Bool, Float, Int

__all__ = ["MarginProgramme"]


@dataclasses.dataclass(frozen=True)
class MarginProgramme:
    """The programme for one class ``labels[m]`` a column and bounds b = ``bounds`` [K, M], 0 on the label rows.

    Plain numpy in float64; whatever it says about a point follows from the point and from nothing else.
    """

    labels: Int[np.ndarray, " M"]
    bounds: Float[np.ndarray, "K M"]

    @classmethod
    def with_margins(
        cls, labels: Int[np.ndarray, " M"], margins: Float[np.ndarray, "K K"], weights: Float[np.ndarray, " M"]
    ) -> "MarginProgramme":
        """b_{jm} = weight_m · margins[y_m, j]; the diagonal of ``margins`` is not read."""
        bounds = np.where(np.eye(len(margins), dtype=bool), 0.0, margins).T[:, labels] * weights
        return cls(labels, bounds)

    @property
    def constrained(self) -> Bool[np.ndarray, "K M"]:
        """Which pairs (j, m) carry a constraint: j ≠ y_m."""
        off_label: Bool[np.ndarray, "K M"] = np.arange(len(self.bounds))[:, None] != self.labels
        return off_label

    def gaps(self, X: Float[np.ndarray, "K M"]) -> Float[np.ndarray, "K M"]:
        """X_{y_m,m} − X_{jm}, 0 on the label rows."""
        gaps: Float[np.ndarray, "K M"] = X[self.labels, np.arange(len(self.labels))] - X
        return gaps

    def adjoint(self, multipliers: Float[np.ndarray, "K M"]) -> Float[np.ndarray, "K M"]:
        """G(μ), whose columns sum to 0, for μ that is 0 on the label rows: ⟨G(μ), X⟩ = Σ μ_{jm} (gap of j, m)."""
        G: Float[np.ndarray, "K M"] = -multipliers
        G[self.labels, np.arange(len(self.labels))] = multipliers.sum(0)
        return G

    def smallest_ratio(self, X: Float[np.ndarray, "K M"]) -> float:
        """min over the constraints of gap/bound: X divided by it is feasible, and just so, if it is positive."""
        inside = self.constrained
        return float((self.gaps(X)[inside] / self.bounds[inside]).min())

    def feasible_multipliers(self, multipliers: Float[np.ndarray, "K M"]) -> Float[np.ndarray, "K M"]:
        """max(μ, 0)/‖G(max(μ, 0))‖_op: dual feasible whatever μ is, and as large as its direction allows."""
        positive = np.where(self.constrained, np.maximum(multipliers, 0.0), 0.0)
        size = float(np.linalg.norm(self.adjoint(positive), 2))
        return positive / size if size > 0 else positive

    def upper_bound(self, X: Float[np.ndarray, "K M"]) -> float:
        """‖X‖_* once X is scaled to be just feasible, which is no less than the optimum; inf if X separates nothing."""
        ratio = self.smallest_ratio(X)
        return nuclear_norm(X) / ratio if ratio > 0 else math.inf

    def lower_bound(self, multipliers: Float[np.ndarray, "K M"]) -> float:
        """Σ b μ once μ is scaled to be just feasible, which is no more than the optimum."""
        return float((self.bounds * self.feasible_multipliers(multipliers)).sum())


def nuclear_norm(matrix: Float[np.ndarray, "K M"]) -> float:
    """The sum of the singular values."""
    return float(np.linalg.svd(matrix, compute_uv=False).sum())
