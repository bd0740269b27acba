"""Cross-entropy, plain or with smoothed labels."""

import dataclasses
import math
from collections.abc import Callable
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ulpm import _checks
from ulpm.logdomain import log_loss_and_shares, softplus
from ulpm.losses.base import LogOddsLoss, LossAt, odds

__all__ = ["CrossEntropy"]


@dataclasses.dataclass(frozen=True)
class CrossEntropy(LogOddsLoss):
    """Σ_i [ logsumexp(z_i) − (1 − α) z_{y_i} − (α/K) Σ_j z_j ], with α = ``label_smoothing`` in [0, 1).

    With α > 0 the labels are moved towards 1/K: no margin above log(1 + K(1 − α)/α) lowers the loss any more (Szegedy,
    Vanhoucke, Ioffe, Shlens, Wojna, "Rethinking the Inception Architecture for Computer Vision", 2016).

    Args:
        label_smoothing: α. With 0 it is plain cross-entropy.

    Raises:
        TypeError: If α is no number.
        ValueError: If α lies outside [0, 1).

    >>> problem = ulpm.Problem([5] * 3, feature_dim=4, loss=ulpm.CrossEntropy(label_smoothing=0.1))
    >>> problem.loss.attained
    True
    """

    name: ClassVar[str] = "cross-entropy"

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        smoothing = _checks.real("label_smoothing", self.label_smoothing, minimum=0, below=1)
        object.__setattr__(self, "label_smoothing", smoothing)

    @property
    def convex(self) -> bool:
        """Always."""
        return True

    @property
    def attained(self) -> bool:
        """Whether some finite logits minimise it: with smoothed labels."""
        return self.label_smoothing > 0

    @property
    def tail(self) -> float | None:
        """1, but None with smoothed labels."""
        return None if self.label_smoothing else 1.0

    def least(self, num_classes: int) -> float:
        """The entropy of a smoothed label."""
        if not self.label_smoothing:
            return 0.0
        # By what the wrong classes have: beside 1, a small α would be rounded.
        wrong = self.label_smoothing * ((num_classes - 1) / num_classes)
        return -(1 - wrong) * math.log1p(-wrong) - wrong * (math.log(self.label_smoothing) - math.log(num_classes))

    def at(self, Z: Float[Tensor, "*batch K N"], rows: Int[Tensor, "*batch 1 N"]) -> LossAt:
        """From gaps a_{ij} = Z_{j,i} − Z_{y_i,i} and x_i = logsumexp_{j≠y_i} a_{ij}: L = Σ_i log(1 + e^{x_i})."""
        smoothing = self.label_smoothing
        slope = smoothing / Z.shape[-2] * (Z - Z.gather(-2, rows)).sum(-2, keepdim=True) if smoothing else None
        weights, total, gaps = odds(Z, rows)
        log_odds = total.log().add_(gaps)
        if slope is not None:
            return self._smoothed(weights, total, log_odds, slope, gaps, rows)
        log_loss, share = log_loss_and_shares(log_odds)
        residual = weights.mul_((share / total).neg_()).scatter_(-2, rows, share)
        log_loss = log_loss[..., 0, 0]
        return LossAt(log_loss, residual, gaps, log_loss)

    def _smoothed(
        self, weights: Tensor, total: Tensor, log_odds: Tensor, slope: Tensor, gaps: Tensor, rows: Tensor
    ) -> LossAt:
        """ℓ = log(1 + e^x) − (α/K) Σ_j a_j, with residual α/K − p off the label row; ``memory`` has p there."""
        log_loss = (softplus(log_odds) - slope).sum((-2, -1)).log()
        p = weights.mul_(log_odds.sigmoid_().div_(total)).scatter_(-2, rows, 0.0)
        target = self.label_smoothing / p.shape[-2]
        residual = (target - p).scatter_(-2, rows, 0.0).mul_(torch.exp(-log_loss)[..., None, None])
        residual.scatter_(-2, rows, residual.sum(-2, keepdim=True).neg_())
        return LossAt(log_loss, residual, gaps, log_loss, p)

    def _bend(self, at: LossAt, per_sample: Float[Tensor, "*batch 1 N"], rows: Tensor) -> Float[Tensor, "*batch 1 N"]:
        # ψ = σ(x), and colsum(Q) = σ(x)/L.
        return at.scale * per_sample

    def differential(
        self, at: LossAt, dZ: Float[Tensor, "*batch K N"], rows: Int[Tensor, "*batch 1 N"]
    ) -> tuple[Float[Tensor, "*batch K N"], Float[Tensor, "*batch 1 N"]]:
        """The base's, and with smoothed labels the differential of the gaps with its sum weighted by R."""
        if at.memory is None:
            return super().differential(at, dZ, rows)
        change = dZ.sub_(dZ.gather(-2, rows))
        return change, (change * at.residual).sum(-2, keepdim=True)

    def tangent(
        self,
        at: LossAt,
        weighted: Float[Tensor, "*batch K N"],
        per_sample: Float[Tensor, "*batch 1 N"],
        rows: Int[Tensor, "*batch 1 N"],
        shift: Float[Tensor, "*batch 1 1"] | None,
    ) -> Float[Tensor, "*batch K N"]:
        """The base's, and with smoothed labels −p ∘ (dA − colsum(p ∘ dA)) off the label row."""
        if at.memory is None:
            return super().tangent(at, weighted, per_sample, rows, shift)
        p = at.memory
        mean = (p * weighted).sum(-2, keepdim=True)
        dR = weighted.sub_(mean).mul_(p).mul_(-torch.exp(-at.log_scale)[..., None, None])
        dR.scatter_(-2, rows, dR.sum(-2, keepdim=True).neg_())
        return dR if shift is None else dR.addcmul_(at.residual, shift)

    def residual_change(
        self,
        at: LossAt,
        dZ: Float[Tensor, "*batch K N"],
        rows: Int[Tensor, "*batch 1 N"],
        sum_over_processes: Callable[[Tensor], Tensor],
    ) -> Float[Tensor, "*batch"]:
        """The base's. With smoothed labels the residual vanishes at the end: that of p, (Σ p (dp/p)²/L)^½."""
        if at.memory is None:
            return super().residual_change(at, dZ, rows, sum_over_processes)
        p = at.memory
        change = dZ.sub_(dZ.gather(-2, rows))
        change.sub_((p * change).sum(-2, keepdim=True))
        weighted = change.square_().mul_(p).sum((-2, -1)) * torch.exp(-at.log_scale)
        return sum_over_processes(weighted).sqrt()

    def dual_value(
        self,
        Z: Float[Tensor, "*batch K N"],
        rows: Int[Tensor, "*batch 1 N"],
        share: Float[Tensor, "*batch"],
        sum_over_processes: Callable[[Tensor], Tensor],
        offset: Float[Tensor, "*batch"] | float = 0.0,
    ) -> Float[Tensor, "*batch"]:
        """The entropy of s p + (1 − s) y, p the softmax and y the labels, smoothed or not: a distribution for s ≤ 1.

        s above 1 is cut to 1.
        """
        s = share.clamp(max=1)[..., None, None]
        target = self.label_smoothing / Z.shape[-2]
        off = torch.softmax(Z, -2).scatter(-2, rows, 0.0)
        mixed = (s * off + (1 - s) * target).scatter(-2, rows, 0.0)
        missing = mixed.sum(-2, keepdim=True)
        label = -(1 - missing) * torch.log1p(-missing.clamp(max=1 - torch.finfo(Z.dtype).eps))
        entropy = sum_over_processes((label - torch.xlogy(mixed, mixed).sum(-2, keepdim=True)).sum((-2, -1)))
        return entropy - s[..., 0, 0] * offset
