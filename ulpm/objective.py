"""The vector field of the flow in rescaled time, F = −∇ log L, in closed form from logit gaps.

With gaps a_{ij} = Z_{j,i} − Z_{y_i,i} (j ≠ y_i) and x_i = logsumexp_{j≠y_i} a_{ij} everything is a difference of
moderate numbers, however small the loss L is:

    L = Σ_i log(1 + e^{x_i}),    R_{y_i,i}/L = σ(x_i)/L,    Q_{ji} = p_{ij}/L = e^{a_{ij} − x_i} σ(x_i)/L

The scaled residual R/L has −Q off the label row and, to rounding, the column sum of Q on it: its columns sum to zero
whatever the gap; 1 − softmax would return 0 there and destroy the conservation of Σ_k w_k.
"""

import dataclasses
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ulpm.distributed import ALONE, Shard
from ulpm.logdomain import clamped_exp_, log_loss_and_shares
from ulpm.problem import Problem, State, checked


@dataclasses.dataclass(frozen=True)
class Loss:
    """The loss at a point, split so that neither log L nor any ratio to L can overflow.

    ``log_loss`` [...] is log L; ``residual`` [..., K, N] is (Y − P)/L, whose columns sum to 0; ``largest_gaps``
    [..., 1, N] has max_{j≠y_i} (Z_{j,i} − Z_{y_i,i}) of each sample; where samples are shared out over processes, the
    largest of all.
    """

    log_loss: Float[Tensor, "*batch"]
    residual: Float[Tensor, "*batch K N"]
    largest_gaps: Float[Tensor, "*batch 1 N"]

    @property
    def margin(self) -> Float[Tensor, "*batch"]:
        """The smallest margin q_min = min_{i, j≠y_i} (Z_{y_i,i} − Z_{j,i})."""
        return -self.largest_gaps.amax((-2, -1))


class LogLossField:
    """F(W, H) = −∇ log L(W, H) = ((R/L) Hᵀ, Wᵀ (R/L)) for one Problem on one device, batched over leading axes.

    With a ``shard`` H and R hold the samples of this process alone; L, the margin and the part of F that belongs to W
    are those of all samples. That takes two messages, 2 numbers of each process and a sum of K·d, since parts of the
    gradient have no common scale before log L is known; ``rate`` takes one.
    """

    def __init__(self, problem: Problem, device: torch.device | str = "cpu", shard: Shard = ALONE) -> None:
        self.problem = problem
        self.shard = shard
        self.labels = problem.labels[shard.part(problem.num_samples)].to(device)

    def loss(self, W: Float[Tensor, "*batch K d"], H: Float[Tensor, "*batch d N"]) -> Loss:
        """log L, the scaled residual and the smallest margin at (W, H)."""
        loss = self._own_loss(W, H)
        return loss if self.shard.count == 1 else self._of_all(loss)

    def _own_loss(self, W: Float[Tensor, "*batch K d"], H: Float[Tensor, "*batch d N"]) -> Loss:
        """That of the samples that are here."""
        Z = W @ H
        rows = self.label_rows(Z)
        label = Z.gather(-2, rows)
        # From here on in place, Z → Z − top → e^(Z − top) → R/L: a small problem costs what its kernels cost.
        top = Z.scatter_(-2, rows, -torch.inf).amax(-2, keepdim=True)
        weights = clamped_exp_(Z.sub_(top))
        total = weights.sum(-2, keepdim=True)
        gaps = top.sub_(label)
        log_loss, share = log_loss_and_shares(total.log().add_(gaps))
        residual = weights.mul_((share / total).neg_()).scatter_(-2, rows, share)
        return Loss(log_loss[..., 0, 0], residual, gaps)

    def __call__(
        self,
        W: Float[Tensor, "*batch K d"],
        H: Float[Tensor, "*batch d N"],
        out: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Loss, Float[Tensor, "*batch K d"], Float[Tensor, "*batch d N"]]:
        """The loss at (W, H) and the two parts of F there, written into ``out`` if it is given."""
        loss = self.loss(W, H)
        W_out, H_out = out if out is not None else (None, None)
        W_dot = _matmul(loss.residual, H.mT, W_out)
        if self.shard.count > 1:
            W_dot.copy_(self.shard.sum(W_dot))
        H_dot = _matmul(W.mT, loss.residual, H_out)
        return loss, W_dot, H_dot

    def rate(
        self,
        W: Float[Tensor, "*batch K d"],
        H: Float[Tensor, "*batch d N"],
        near: Float[Tensor, "*batch"],
        out: tuple[Tensor, Tensor],
    ) -> Float[Tensor, "*batch"]:
        """Write F(W, H) into ``out`` and return log L, by one message of processes that know log L ``near`` (W, H).

        Each scales its part of ∂L/∂W by e^{−near}, so that the parts and those of L are summed at once. Where log L is
        too far from ``near`` for that, by 700 in float64 and 87 in float32, it and the first part of F are not finite.
        """
        own = self._own_loss(W, H)
        weight = torch.exp(own.log_loss - near)
        W_part = (own.residual @ H.mT).mul_(weight[..., None, None])
        total = self.shard.sum(torch.cat([W_part.flatten(-2), weight[..., None]], -1))
        L = total[..., -1]
        log_loss = L.log().add_(near)
        W_out, H_out = out
        torch.div(total[..., :-1].view_as(W_part), L[..., None, None], out=W_out)
        share = clamped_exp_((own.log_loss - log_loss)[..., None, None])
        _matmul(W.mT, own.residual.mul_(share), H_out)
        return log_loss

    def jacobian_product(
        self,
        W: Float[Tensor, "*batch K d"],
        H: Float[Tensor, "*batch d N"],
        W_tangent: Float[Tensor, "*batch K d"],
        H_tangent: Float[Tensor, "*batch d N"],
        loss: Loss | None = None,
        out: tuple[Tensor, Tensor] | None = None,
        W_dot: Float[Tensor, "*batch K d"] | None = None,
    ) -> tuple[Float[Tensor, "*batch K d"], Float[Tensor, "*batch d N"]]:
        """J(W, H) · (tangent), J = −∇² log L, a symmetric operator, written into ``out`` if it is given.

        ``loss`` saves evaluating it at (W, H) again. Several processes need ``W_dot``, the first part of F there; one
        alone has no use for it.

        With c = Q ∘ dA, where dA is the differential of the gaps: d log L = Σ c and
        dQ = c − Q ∘ (L·colsum(c) + Σ c); then dF = (dR Hᵀ + R dHᵀ, dWᵀ R + Wᵀ dR), all divided by L.
        """
        loss = loss if loss is not None else self.loss(W, H)
        R = loss.residual
        rows = self.label_rows(R)
        c = _add_matmul(W_tangent @ H, W, H_tangent)
        # R is −Q off the label row, and dA vanishes on it: this is −c.
        c = c.sub_(c.gather(-2, rows)).mul_(R)
        per_sample = c.sum(-2, keepdim=True)
        total = per_sample.sum(-1, keepdim=True)
        factor = loss.log_loss.exp()[..., None, None] * per_sample
        dR = c.addcmul_(R, factor.add_(total) if W_dot is None else factor).scatter_(-2, rows, 0.0)
        dR.scatter_(-2, rows, dR.sum(-2, keepdim=True).neg_())
        W_out, H_out = out if out is not None else (None, None)
        W_image = _two_products((dR, H.mT), (R, H_tangent.mT), W_out)
        if W_dot is not None:
            # dR still lacks R Σ c, and its product with Hᵀ, summed over processes, W_dot Σ c: one message will do.
            sums = self.shard.sum(torch.cat([W_image.flatten(-2), total[..., 0]], -1))
            total = sums[..., -1:, None]
            torch.addcmul(sums[..., :-1].view_as(W_image), W_dot, total, out=W_image)
            dR.addcmul_(R, total)
        H_image = _two_products((W_tangent.mT, R), (W.mT, dR), H_out)
        return W_image, H_image

    def residual_change(
        self,
        W: Float[Tensor, "*batch K d"],
        H: Float[Tensor, "*batch d N"],
        W_change: Float[Tensor, "*batch K d"],
        H_change: Float[Tensor, "*batch d N"],
        loss: Loss,
    ) -> Float[Tensor, "*batch"]:
        """(Σ Q (dQ/Q)²)^½, the relative change of Q = p/L to first order in a change of (W, H), where ``loss`` holds.

        Certificates, KKT residuals and the direction of F see an error of the state through this. Late in a run it is
        the standard deviation of the errors of the margins, weighted by Q. An error that all margins share is not seen.
        """
        R = loss.residual
        rows = self.label_rows(R)
        change = _add_matmul(W_change @ H, W, H_change)
        change = change.sub_(change.gather(-2, rows))
        # R is −Q off the label row, and dA vanishes on it.
        c = change * R
        per_sample = c.sum(-2, keepdim=True)
        total = self.shard.sum(per_sample.sum(-1, keepdim=True))
        # dQ/Q = dA − L·colsum(Q dA) − Σ Q dA; these are minus the two sums.
        change.add_(loss.log_loss.exp()[..., None, None] * per_sample + total)
        weighted = change.square_().mul_(R).scatter_(-2, rows, 0.0)
        return self.shard.sum(-weighted.sum((-2, -1))).clamp(min=0).sqrt()

    def _of_all(self, loss: Loss) -> Loss:
        """The loss of all samples from those L_p of each process: log L = logsumexp_p log L_p, R/L = (L_p/L) R/L_p."""
        largest = -loss.margin
        log_losses, gaps = self.shard.gather(torch.stack([loss.log_loss, largest])).unbind(1)
        log_loss = log_losses.logsumexp(0)
        residual = loss.residual.mul_(clamped_exp_((loss.log_loss - log_loss)[..., None, None]))
        return Loss(log_loss, residual, gaps.amax(0)[..., None, None].expand_as(loss.largest_gaps))

    def label_rows(self, Z: Tensor) -> Tensor:
        """y as an index [..., 1, N] along the classes of Z [..., K, N]."""
        return self.labels.expand(*Z.shape[:-2], 1, Z.shape[-1])


def log_loss(problem: Problem, state: State) -> Float[Tensor, "*batch"]:
    """log L(W, H), the natural logarithm of the summed cross-entropy: finite whenever the logits are.

    It has a gradient in W and H if they ask for one: −F of the closed form, right however small the loss is.

    Shape: the replica axes of ``state``. Raises: TypeError or ValueError if the state does not fit the problem.

    >>> problem = ulpm.Problem([1, 1], feature_dim=1)
    >>> state = ulpm.State(torch.tensor([[500.0], [-500.0]]), torch.tensor([[1.0, -1.0]]))
    >>> ulpm.log_loss(problem, state)  # log(2 e^−1000)
    tensor(-999.3068)
    """
    checked(problem).check(state)
    with torch.autocast(state.W.device.type, enabled=False):
        value: Tensor = _LogLoss.apply(LogLossField(problem, state.W.device), state.W, state.H)  # type: ignore[no-untyped-call]
    return value


def margin(problem: Problem, state: State) -> Float[Tensor, "*batch"]:
    """q_min = min_{i, j≠y_i} (Z_{y_i,i} − Z_{j,i}): positive exactly when the state classifies every sample strictly.

    It has a gradient in W and H if they ask for one; where several gaps are the smallest one, the mean of theirs.

    Shape: the replica axes of ``state``. Raises: TypeError or ValueError if the state does not fit the problem.

    >>> problem = ulpm.Problem([1, 1], feature_dim=1)
    >>> state = ulpm.State(torch.tensor([[500.0], [-500.0]]), torch.tensor([[1.0, -1.0]]))
    >>> ulpm.margin(problem, state)
    tensor(1000.)
    """
    checked(problem).check(state)
    with torch.autocast(state.W.device.type, enabled=False):
        Z = state.W @ state.H
        rows = LogLossField(problem, Z.device).label_rows(Z)
        top = Z.scatter(-2, rows, -torch.inf).amax(-2, keepdim=True)
        return -(top - Z.gather(-2, rows)).amax((-2, -1))


class _LogLoss(torch.autograd.Function):
    """log L with the gradient −F; that of F are Jacobian products, since J is symmetric."""

    @staticmethod
    def forward(field: LogLossField, W: Tensor, H: Tensor) -> Tensor:
        return field.loss(W, H).log_loss

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[LogLossField, Tensor, Tensor], output: Tensor) -> None:
        ctx.field, W, H = inputs
        ctx.save_for_backward(W, H)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[None, Tensor, Tensor]:
        W_dot, H_dot = _Force.apply(ctx.field, *ctx.saved_tensors)  # type: ignore[no-untyped-call]
        slope = -slope[..., None, None]
        return None, slope * W_dot, slope * H_dot


class _Force(torch.autograd.Function):
    """F = −∇ log L."""

    @staticmethod
    def forward(field: LogLossField, W: Tensor, H: Tensor) -> tuple[Tensor, Tensor]:
        _, W_dot, H_dot = field(W, H)
        return W_dot, H_dot

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[LogLossField, Tensor, Tensor], output: tuple[Tensor, Tensor]) -> None:
        ctx.field, W, H = inputs
        ctx.save_for_backward(W, H)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, W_slope: Tensor, H_slope: Tensor) -> tuple[None, Tensor, Tensor]:
        return None, *ctx.field.jacobian_product(*ctx.saved_tensors, W_slope, H_slope)


def _matmul(a: Tensor, b: Tensor, out: Tensor | None) -> Tensor:
    # Into a strided batch torch multiplies one matrix at a time; a product and a copy are many times faster.
    if out is None or out.is_contiguous():
        return torch.matmul(a, b, out=out)
    return out.copy_(a @ b)


def _two_products(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], out: Tensor | None) -> Tensor:
    """a b + c d."""
    if out is None or out.is_contiguous():
        return _add_matmul(_matmul(*first, out), *second)
    return out.copy_(_add_matmul(first[0] @ first[1], *second))


def _add_matmul(target: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """target + a b, in place."""
    if target.ndim == 3 and target.is_contiguous():
        return target.baddbmm_(a, b)
    return target.add_(a @ b)
