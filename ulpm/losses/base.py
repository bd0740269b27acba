"""What a flow, a certificate and a file need of a loss: its value, its residual, and how the residual changes.

Everything is a function of the logits Z [..., K, N] and the labels. A loss sums over samples; how it is reduced and
what is added to it is none of its business. Where ``logarithmic``, it is given as log L, and the residual −∇_Z L over
L, so that neither over- nor underflows however small L is; the flow is then followed in ds = L dt. A loss that reaches
0 at finite logits, where ∇ log L blows up, is followed in ds = dt, and its residual is −∇_Z L itself.
"""

import abc
import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ulpm.logdomain import clamped_exp_, root_of_tiny

__all__ = ["LogOddsLoss", "LogitLoss", "LossAt", "largest_gaps", "odds"]


@dataclasses.dataclass(frozen=True)
class LossAt:
    """A loss at a point.

    ``log_loss`` [...] is the logarithm of what is minimised. ``residual`` [..., K, N] is −∂L/∂Z over e^``log_scale``,
    which is L itself, or 1 for a loss that is not logarithmic. ``largest_gaps`` [..., 1, N] has max_{j≠y_i} (Z_{j,i} −
    Z_{y_i,i}) of each sample; where samples are shared out over processes, the largest of all. ``memory`` is what else
    the loss wants to know for tangents of the residual.
    """

    log_loss: Float[Tensor, "*batch"]
    residual: Float[Tensor, "*batch K N"]
    largest_gaps: Float[Tensor, "*batch 1 N"]
    log_scale: Float[Tensor, "*batch"]
    memory: Float[Tensor, "*batch any N"] | None = None

    def to(self, dtype: torch.dtype) -> "LossAt":
        """The same rounded to a precision."""
        return LossAt(
            self.log_loss.to(dtype),
            self.residual.to(dtype),
            self.largest_gaps.to(dtype),
            self.log_scale.to(dtype),
            None if self.memory is None else self.memory.to(dtype),
        )

    @functools.cached_property
    def scale(self) -> Float[Tensor, "*batch 1 1"]:
        """e^``log_scale``."""
        return self.log_scale.exp()[..., None, None]

    @property
    def margin(self) -> Float[Tensor, "*batch"]:
        """The smallest margin q_min = min_{i, j≠y_i} (Z_{y_i,i} − Z_{j,i})."""
        return -self.largest_gaps.amax((-2, -1))


class LogitLoss(abc.ABC):
    """A loss Σ_i ℓ(z_i, y_i). Subclasses are frozen dataclasses, whose fields are numbers.

    ``convex`` says whether ℓ is convex in z, ``attained`` whether it has a minimum at finite logits, ``tail`` is κ
    where ℓ falls like e^{−κq} with the margin q, None where it does not; ``conserves_sums`` says whether the columns of
    the residual sum to 0, by which Σ_k w_k is conserved. ``rank_deficiency`` is 1 where the best logits of a sample sum
    to 0, so that K − 1 dimensions hold them, else 0.
    """

    name: ClassVar[str]
    logarithmic: ClassVar[bool] = True
    conserves_sums: ClassVar[bool] = True
    rank_deficiency: ClassVar[int] = 1

    @property
    def convex(self) -> bool:
        """Whether ℓ is known to be convex in the logits, and ``dual_value`` what that proves."""
        return False

    @property
    def attained(self) -> bool:
        """Whether some finite logits minimise ℓ."""
        return False

    @property
    def tail(self) -> float | None:
        """κ with ℓ ~ e^{−κq} for a large common margin q."""
        return None

    def least(self, num_classes: int) -> float:
        """inf ℓ, the least loss of a sample."""
        return 0.0

    @abc.abstractmethod
    def at(self, Z: Float[Tensor, "*batch K N"], rows: Int[Tensor, "*batch 1 N"]) -> LossAt:
        """The sum over samples, by the labels as an index ``rows`` of rows. Z may be written over."""

    @abc.abstractmethod
    def differential(
        self, at: LossAt, dZ: Float[Tensor, "*batch K N"], rows: Int[Tensor, "*batch 1 N"]
    ) -> tuple[Float[Tensor, "*batch K N"], Float[Tensor, "*batch 1 N"]]:
        """Minus the differential of each sample's loss over e^``log_scale``, and what ``tangent`` makes of dZ.

        dZ may be written over.
        """

    @abc.abstractmethod
    def tangent(
        self,
        at: LossAt,
        weighted: Float[Tensor, "*batch K N"],
        per_sample: Float[Tensor, "*batch 1 N"],
        rows: Int[Tensor, "*batch 1 N"],
        shift: Float[Tensor, "*batch 1 1"] | None,
    ) -> Float[Tensor, "*batch K N"]:
        """The differential of −∂L/∂Z over e^``log_scale``, plus ``shift`` times the residual, from ``weighted``."""

    @abc.abstractmethod
    def residual_change(
        self,
        at: LossAt,
        dZ: Float[Tensor, "*batch K N"],
        rows: Int[Tensor, "*batch 1 N"],
        sum_over_processes: Callable[[Tensor], Tensor],
    ) -> Float[Tensor, "*batch"]:
        """The relative change of the residual to first order in dZ, which may be written over; steps keep it small."""

    def dual_value(
        self,
        Z: Float[Tensor, "*batch K N"],
        rows: Int[Tensor, "*batch 1 N"],
        share: Float[Tensor, "*batch"],
        sum_over_processes: Callable[[Tensor], Tensor],
        offset: Float[Tensor, "*batch"] | float = 0.0,
    ) -> Float[Tensor, "*batch"]:
        """−L*(−s G): what s times the residual G = −∇L(Z) proves, inf_X L(X) + s⟨G, X⟩, for a convex loss.

        Logits may be large. One s, at most the given share, is taken for all samples; s times the ``offset`` is taken
        off, as where X is known to have a part whose product with G is the offset.

        Raises: ValueError for a loss that is not convex.
        """
        raise ValueError(f"the {self.name} loss is not convex in the logits, so that no point of it bounds an optimum.")

    def record(self) -> dict[str, Any]:
        """The loss as names and numbers, to be kept in files."""
        return {"name": self.name, **dataclasses.asdict(self)}  # type: ignore[call-overload]


class LogOddsLoss(LogitLoss):
    """A loss φ(x_i) of the log-odds x_i = logsumexp_{j≠y_i} (Z_{j,i} − Z_{y_i,i}), φ rising and positive.

    With Q = φ′(x) softmax_{j≠y}(a)/L the residual has −Q off the label row and, to rounding, the column sum of Q on it:
    its columns sum to zero whatever the gap; 1 − softmax would return 0 there and destroy the conservation of Σ_k w_k.

    With c = Q ∘ dA, where dA is the differential of the gaps: d log L = Σ c and dQ = c − Q ∘ (ψ·colsum(c)/colsum(Q) +
    Σ c), ψ = 1 − φ″/φ′.
    """

    def profile(self, x: Float[Tensor, "*batch 1 N"]) -> tuple[Tensor, Tensor, Tensor]:
        """log φ, φ′/φ and ψ at log-odds x, wherever x is a number."""
        raise NotImplementedError

    def at(self, Z: Float[Tensor, "*batch K N"], rows: Int[Tensor, "*batch 1 N"]) -> LossAt:
        """By ``profile``; ``memory`` has ψ."""
        weights, total, gaps = odds(Z, rows)
        log_phi, slope, psi = self.profile(total.log().add_(gaps))
        log_loss = log_phi.logsumexp(-1, keepdim=True)
        share = torch.exp(log_phi - log_loss).mul_(slope).clamp_(min=1e4 * root_of_tiny(log_phi.dtype))
        residual = weights.mul_((share / total).neg_()).scatter_(-2, rows, share)
        log_loss = log_loss[..., 0, 0]
        return LossAt(log_loss, residual, gaps, log_loss, psi)

    def _bend(self, at: LossAt, per_sample: Float[Tensor, "*batch 1 N"], rows: Tensor) -> Float[Tensor, "*batch 1 N"]:
        """ψ·colsum(c)/colsum(Q), by −colsum(c) in ``per_sample``, with its sign."""
        assert at.memory is not None
        return at.memory * per_sample / at.residual.gather(-2, rows)

    def differential(
        self, at: LossAt, dZ: Float[Tensor, "*batch K N"], rows: Int[Tensor, "*batch 1 N"]
    ) -> tuple[Float[Tensor, "*batch K N"], Float[Tensor, "*batch 1 N"]]:
        # R is −Q off the label row, and dA vanishes on it: this is −c.
        c = dZ.sub_(dZ.gather(-2, rows)).mul_(at.residual)
        return c, c.sum(-2, keepdim=True)

    def tangent(
        self,
        at: LossAt,
        weighted: Float[Tensor, "*batch K N"],
        per_sample: Float[Tensor, "*batch 1 N"],
        rows: Int[Tensor, "*batch 1 N"],
        shift: Float[Tensor, "*batch 1 1"] | None,
    ) -> Float[Tensor, "*batch K N"]:
        factor = self._bend(at, per_sample, rows)
        dR = weighted.addcmul_(at.residual, factor if shift is None else factor.add_(shift)).scatter_(-2, rows, 0.0)
        return dR.scatter_(-2, rows, dR.sum(-2, keepdim=True).neg_())

    def residual_change(
        self,
        at: LossAt,
        dZ: Float[Tensor, "*batch K N"],
        rows: Int[Tensor, "*batch 1 N"],
        sum_over_processes: Callable[[Tensor], Tensor],
    ) -> Float[Tensor, "*batch"]:
        """(Σ Q (dQ/Q)²)^½. Late in a run it is the standard deviation of the errors of the margins, weighted by Q.

        An error that all margins share is not seen.
        """
        R = at.residual
        change = dZ.sub_(dZ.gather(-2, rows))
        # R is −Q off the label row, and dA vanishes on it.
        c = change * R
        per_sample = c.sum(-2, keepdim=True)
        total = sum_over_processes(per_sample.sum(-1, keepdim=True))
        # dQ/Q = dA − ψ·colsum(c)/colsum(Q) − Σ c; these are minus the two sums.
        change.add_(self._bend(at, per_sample, rows) + total)
        weighted = change.square_().mul_(R).scatter_(-2, rows, 0.0)
        return sum_over_processes(-weighted.sum((-2, -1))).clamp(min=0).sqrt()


def largest_gaps(Z: Float[Tensor, "*batch K N"], rows: Int[Tensor, "*batch 1 N"]) -> Float[Tensor, "*batch 1 N"]:
    """max_{j≠y_i} (Z_{j,i} − Z_{y_i,i}) of each sample."""
    return Z.scatter(-2, rows, -torch.inf).amax(-2, keepdim=True) - Z.gather(-2, rows)


def odds(Z: Float[Tensor, "*batch K N"], rows: Int[Tensor, "*batch 1 N"]) -> tuple[Tensor, Tensor, Tensor]:
    """e^{Z − max} off the label rows and 0 on them, in the place of Z, their column sums, and the largest gaps.

    log-odds are x = log(sum) + gap.
    """
    label = Z.gather(-2, rows)
    # From here on in place, Z → Z − top → e^(Z − top): a small problem costs what its kernels cost.
    top = Z.scatter_(-2, rows, -torch.inf).amax(-2, keepdim=True)
    weights = clamped_exp_(Z.sub_(top))
    total = weights.sum(-2, keepdim=True)
    return weights, total, top.sub_(label)
