"""Squared error to one-hot labels."""

import dataclasses
import math
from collections.abc import Callable
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ulpm.losses.base import LogitLoss, LossAt, largest_gaps

__all__ = ["SquaredError"]


@dataclasses.dataclass(frozen=True)
class SquaredError(LogitLoss):
    """½ Σ_i ‖z_i − e_{y_i}‖², which is 0 at finite logits: the flow is followed in its own time, ds = dt.

    >>> problem = ulpm.Problem([5] * 3, feature_dim=4, loss=ulpm.SquaredError())
    >>> path = ulpm.gradient_flow(problem, problem.random_state(seed=0), log10_time=100, records=2)
    >>> print(path.status.name)
    CONVERGED
    """

    name: ClassVar[str] = "squared-error"
    logarithmic: ClassVar[bool] = False
    conserves_sums: ClassVar[bool] = False
    rank_deficiency: ClassVar[int] = 0

    @property
    def convex(self) -> bool:
        """Always."""
        return True

    @property
    def attained(self) -> bool:
        """Always: at the labels."""
        return True

    def at(self, Z: Float[Tensor, "*batch K N"], rows: Int[Tensor, "*batch 1 N"]) -> LossAt:
        """With residual Y − Z."""
        gaps = largest_gaps(Z, rows)
        residual = Z.neg_().scatter_add_(-2, rows, torch.ones_like(gaps))
        log_loss = residual.square().sum((-2, -1)).mul_(0.5).log()
        return LossAt(log_loss, residual, gaps, torch.zeros_like(log_loss))

    def differential(
        self, at: LossAt, dZ: Float[Tensor, "*batch K N"], rows: Int[Tensor, "*batch 1 N"]
    ) -> tuple[Float[Tensor, "*batch K N"], Float[Tensor, "*batch 1 N"]]:
        """dZ, and the sum of R ∘ dZ over classes."""
        return dZ, (at.residual * dZ).sum(-2, keepdim=True)

    def tangent(
        self,
        at: LossAt,
        weighted: Float[Tensor, "*batch K N"],
        per_sample: Float[Tensor, "*batch 1 N"],
        rows: Int[Tensor, "*batch 1 N"],
        shift: Float[Tensor, "*batch 1 1"] | None,
    ) -> Float[Tensor, "*batch K N"]:
        """−dZ."""
        dR = weighted.mul_(-torch.exp(-at.log_scale)[..., None, None])
        return dR if shift is None else dR.addcmul_(at.residual, shift)

    def residual_change(
        self,
        at: LossAt,
        dZ: Float[Tensor, "*batch K N"],
        rows: Int[Tensor, "*batch 1 N"],
        sum_over_processes: Callable[[Tensor], Tensor],
    ) -> Float[Tensor, "*batch"]:
        """‖dZ‖/‖Y‖: the residual itself vanishes at the end."""
        squares = torch.stack([dZ.square().sum((-2, -1)), torch.full_like(at.log_loss, dZ.shape[-1])])
        change, size = sum_over_processes(squares)
        relative: Tensor = (change / size).sqrt()
        return relative

    def dual_value(
        self,
        Z: Float[Tensor, "*batch K N"],
        rows: Int[Tensor, "*batch 1 N"],
        share: Float[Tensor, "*batch"],
        sum_over_processes: Callable[[Tensor], Tensor],
        offset: Float[Tensor, "*batch"] | float = 0.0,
    ) -> Float[Tensor, "*batch"]:
        """s⟨G, Y⟩ − ½s²‖G‖² with G = Y − Z, and the best s between 0 and the given one."""
        G = (-Z).scatter_add(-2, rows, torch.ones_like(rows, dtype=Z.dtype))
        along, size = sum_over_processes(torch.stack([G.gather(-2, rows).sum((-2, -1)), G.square().sum((-2, -1))]))
        along = along - offset
        s = torch.minimum(share, (along / size.clamp(min=math.ulp(0))).clamp(min=0))
        value: Tensor = s * along - s * s * size / 2
        return value
