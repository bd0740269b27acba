"""The focal loss."""

import dataclasses
import math
from collections.abc import Callable
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ulpm import _checks
from ulpm.logdomain import softplus
from ulpm.losses.base import LogOddsLoss
from ulpm.losses.cross_entropy import CrossEntropy

__all__ = ["Focal"]


@dataclasses.dataclass(frozen=True)
class Focal(LogOddsLoss):
    """−Σ_i (1 − p_i)^γ log p_i with the probability p_i of the label: samples that are right already count less.

    With log-odds x of the other classes, φ(x) = σ(x)^γ log(1 + e^x), which falls like e^{(1+γ)x}: κ = 1 + γ. Convex in
    the logits for γ = 0 only, where it is cross-entropy (Lin, Goyal, Girshick, He, Dollár, "Focal Loss for Dense Object
    Detection", 2017).

    Args:
        gamma: γ ≥ 0.

    Raises:
        TypeError: If γ is no number.
        ValueError: If γ is negative.

    >>> ulpm.Focal(gamma=2.0).tail
    3.0
    """

    name: ClassVar[str] = "focal"

    gamma: float = 2.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "gamma", _checks.real("gamma", self.gamma, minimum=0))

    @property
    def convex(self) -> bool:
        """Whether γ = 0."""
        return self.gamma == 0

    @property
    def tail(self) -> float:
        """1 + γ."""
        return 1 + self.gamma

    def profile(self, x: Float[Tensor, "*batch 1 N"]) -> tuple[Tensor, Tensor, Tensor]:
        """log φ = γ log σ + log log(1 + e^x), φ′/φ = γ(1 − σ) + u with u = σ/log(1 + e^x), and ψ."""
        # Where e^x is nothing beside 1, log(1 + e^x) and σ are e^x; where it is no number any more, too.
        small = x < math.log(torch.finfo(x.dtype).eps) - 4
        cross, sigma = softplus(x), torch.sigmoid(x)
        # Of −x, since x − log(1 + e^x) and 1 − σ cancel for large x, and γ may be large.
        log_sigma, missing = -softplus(-x), torch.sigmoid(-x)
        u = torch.where(small, 1.0, sigma / cross)
        log_phi = self.gamma * log_sigma + torch.where(small, x, cross.log())
        slope = self.gamma * missing + u
        bent = u * (missing - u) - self.gamma * sigma * missing
        return log_phi, slope, 1 - slope - bent / slope

    def dual_value(
        self,
        Z: Float[Tensor, "*batch K N"],
        rows: Int[Tensor, "*batch 1 N"],
        share: Float[Tensor, "*batch"],
        sum_over_processes: Callable[[Tensor], Tensor],
        offset: Float[Tensor, "*batch"] | float = 0.0,
    ) -> Float[Tensor, "*batch"]:
        """That of cross-entropy for γ = 0; else there is none. Raises: ValueError for γ > 0."""
        if self.convex:
            return CrossEntropy().dual_value(Z, rows, share, sum_over_processes, offset)
        return super().dual_value(Z, rows, share, sum_over_processes, offset)
