"""What a problem minimises, Φ(W, H, b), and the vector field of its flow: the only place that puts them together.

The head makes logits Z = W H + b 1ᵀ, the loss makes L and its residual R = −∂L/∂Z of them, and the penalty is P =
½λ_W‖W‖² + ½λ_H‖H‖²; Φ = L + P. All is divided by the scale of time, ds = Φ dt, or ds = dt where the loss is not
logarithmic (``ulpm.losses``): with R, λ_W and λ_H over that scale,

    F = (R Hᵀ − λ_W W, Wᵀ R − λ_H H, R 1) = −∇ log Φ, or −∇Φ
"""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ulpm.distributed import ALONE, Shard
from ulpm.logdomain import clamped_exp_
from ulpm.losses import LossAt
from ulpm.problem import Problem, checked
from ulpm.state import Factors, State

__all__ = ["Objective", "add_matmul", "log_loss", "margin", "matmul"]


class Objective:
    """Φ and F of one Problem on one device, batched over leading axes.

    With a ``shard`` H and R hold the samples of this process alone; Φ, the margin and the parts of F that belong to W
    and b are those of all samples. That takes two messages, 2 numbers of each process and a sum of K·d, since parts of
    the gradient have no common scale before log L is known; ``rate`` takes one.
    """

    def __init__(self, problem: Problem, device: torch.device | str = "cpu", shard: Shard = ALONE) -> None:
        self.problem = problem
        self.shard = shard
        self.labels = problem.labels[shard.part(problem.num_samples)].to(device)
        self.logarithmic = problem.loss.logarithmic
        self._log_count = math.log(problem.samples_per_unit)
        # Whether processes need one message for log L and F: ``rate``, and ``jacobian_product`` with W_dot.
        self.fused = shard.count > 1 and self.logarithmic and not (problem.decayed or problem.bias or self._log_count)

    def loss(self, at: Factors, products: Float[Tensor, "*batch K N"] | None = None) -> LossAt:
        """log Φ, the scaled residual and the smallest margin at a point; ``products``, W H, save computing them."""
        loss = self._own_loss(at, products)
        if self.shard.count > 1:
            loss = self._of_all(loss)
        if not (self.problem.decayed or self._log_count):
            return loss
        log_loss, log_scale = loss.log_loss - self._log_count, loss.log_scale
        if not self.logarithmic:
            loss.residual.mul_(math.exp(-self._log_count))
            log_scale = log_scale + self._log_count
        if self.problem.decayed:
            total = torch.logaddexp(log_loss, self.log_penalty(at))
            if self.logarithmic:
                # R was over L, and is over Φ from here on.
                loss.residual.mul_(clamped_exp_((log_loss - total)[..., None, None]))
                log_scale = log_scale + (total - log_loss)
            log_loss = total
        return LossAt(log_loss, loss.residual, loss.largest_gaps, log_scale, loss.memory)

    def log_penalty(self, at: Factors) -> Float[Tensor, "*batch"]:
        """log(½λ_W‖W‖² + ½λ_H‖H‖²)."""
        λ_W, λ_H = self.problem.weight_decay
        features = self.shard.all_reduce(at.H.square().sum((-2, -1)))
        return (λ_W / 2 * at.W.square().sum((-2, -1)) + λ_H / 2 * features).log()

    def _own_loss(self, at: Factors, products: Float[Tensor, "*batch K N"] | None = None) -> LossAt:
        """Loss of this process's samples only, summed."""
        if products is None:
            Z = at.logits
        elif at.b is None:
            Z = products.clone()  # which the loss may write over
        else:
            Z = products + at.b[..., None]
        return self.problem.loss.at(Z, self.label_rows(Z))

    def __call__(self, at: Factors, out: Factors | None = None) -> tuple[LossAt, Factors]:
        """The loss at a point and F there, written into ``out`` if it is given."""
        loss = self.loss(at)
        W_out, H_out, b_out = out if out is not None else (None, None, None)
        W_dot = matmul(loss.residual, at.H.mT, W_out)
        b_dot = None
        if at.b is not None:
            b_dot = loss.residual.sum(-1) if b_out is None else torch.sum(loss.residual, -1, out=b_out)
        if self.shard.count > 1:
            W_dot.copy_(self.shard.all_reduce(W_dot))
            if b_dot is not None:
                b_dot.copy_(self.shard.all_reduce(b_dot))
        H_dot = matmul(at.W.mT, loss.residual, H_out)
        if self.problem.decayed:
            λ_W, λ_H = self._decay(loss)
            W_dot.sub_(λ_W * at.W)
            H_dot.sub_(λ_H * at.H)
        return loss, Factors(W_dot, H_dot, b_dot)

    def _decay(self, loss: LossAt) -> tuple[Tensor | float, Tensor | float]:
        """λ_W and λ_H over the scale of time."""
        λ_W, λ_H = self.problem.weight_decay
        if not self.logarithmic:
            return λ_W, λ_H
        unit = torch.exp(-loss.log_loss)[..., None, None]
        return λ_W * unit, λ_H * unit

    def rate(self, at: Factors, near: Float[Tensor, "*batch"], out: Factors) -> Float[Tensor, "*batch"]:
        """Write F into ``out`` and return log L, by one message of processes that know log L ``near`` the point.

        Each scales its part of ∂L/∂W by e^{−near}, so that the parts and those of L are summed at once. Where log L is
        too far from ``near`` for that, by 700 in float64 and 87 in float32, it and the first part of F are not finite.
        Only where ``fused``.
        """
        own = self._own_loss(at)
        weight = torch.exp(own.log_loss - near)
        W_part = (own.residual @ at.H.mT).mul_(weight[..., None, None])
        total = self.shard.all_reduce(torch.cat([W_part.flatten(-2), weight[..., None]], -1))
        L = total[..., -1]
        log_loss = L.log().add_(near)
        torch.div(total[..., :-1].view_as(W_part), L[..., None, None], out=out.W)
        share = clamped_exp_((own.log_loss - log_loss)[..., None, None])
        matmul(at.W.mT, own.residual.mul_(share), out.H)
        return log_loss

    def shared_gradient(self, at: Factors, loss: LossAt) -> Float[Tensor, "*batch K d"] | None:
        """R Hᵀ of all samples where ``fused``, by which products with J at this point take a message less."""
        return self.shard.all_reduce(loss.residual @ at.H.mT) if self.fused else None

    def jacobian_product(
        self,
        at: Factors,
        tangent: Factors,
        loss: LossAt | None = None,
        out: Factors | None = None,
        W_dot: Float[Tensor, "*batch K d"] | None = None,
    ) -> Factors:
        """J · tangent, J the derivative of F, a symmetric operator, written into ``out`` if it is given.

        ``loss`` saves evaluating it again. Several processes save a message with ``W_dot``, their ``shared_gradient``.

        With dR the differential of −∂L/∂Z over the scale of time, ς = −d log Φ, or 0 for ds = dt, and λ over the scale:
        dF = ((dR + ς R) Hᵀ + R dHᵀ − λ_W (dW + ς W), dWᵀ R + Wᵀ (dR + ς R) − λ_H (dH + ς H), (dR + ς R) 1).
        """
        loss = loss if loss is not None else self.loss(at)
        R = loss.residual
        rows = self.label_rows(R)
        dZ = self._logits_change(at, tangent)
        weighted, per_sample = self.problem.loss.differential(loss, dZ, rows)
        shift = total = self._minus_differential(per_sample, at, tangent, loss, W_dot is None)
        dR = self.problem.loss.tangent(loss, weighted, per_sample, rows, shift if W_dot is None else None)
        W_out, H_out, b_out = out if out is not None else (None, None, None)
        W_image = _two_products((dR, at.H.mT), (R, tangent.H.mT), W_out)
        b_image = None
        if at.b is not None:
            b_image = dR.sum(-1) if b_out is None else torch.sum(dR, -1, out=b_out)
        if W_dot is not None and total is not None:
            # dR still lacks R Σ c, and its product with Hᵀ, summed over processes, W_dot Σ c: one message will do.
            sums = self.shard.all_reduce(torch.cat([W_image.flatten(-2), total[..., 0]], -1))
            total = sums[..., -1:, None]
            torch.addcmul(sums[..., :-1].view_as(W_image), W_dot, total, out=W_image)
            dR.addcmul_(R, total)
        elif self.shard.count > 1:
            W_image.copy_(self.shard.all_reduce(W_image))
            if b_image is not None:
                b_image.copy_(self.shard.all_reduce(b_image))
        H_image = _two_products((tangent.W.mT, R), (at.W.mT, dR), H_out)
        if self.problem.decayed:
            λ_W, λ_H = self._decay(loss)
            for image, λ, moved, here in ((W_image, λ_W, tangent.W, at.W), (H_image, λ_H, tangent.H, at.H)):
                image.sub_(λ * (moved if shift is None else torch.addcmul(moved, shift, here)))
        return Factors(W_image, H_image, b_image)

    def residual_tangent(self, loss: LossAt, dZ: Float[Tensor, "*batch K N"]) -> Float[Tensor, "*batch K N"]:
        """dR + ς R of a change of the logits, which may be written over, without decay and of one process alone."""
        rows = self.label_rows(dZ)
        weighted, per_sample = self.problem.loss.differential(loss, dZ, rows)
        shift = per_sample.sum(-1, keepdim=True) if self.logarithmic else None
        return self.problem.loss.tangent(loss, weighted, per_sample, rows, shift)

    def _minus_differential(
        self, per_sample: Tensor, at: Factors, tangent: Factors, loss: LossAt, complete: bool
    ) -> Tensor | None:
        """ς [..., 1, 1], of all samples if ``complete``, else of those here; None for ds = dt."""
        if not self.logarithmic:
            return None
        total = per_sample.sum(-1, keepdim=True)
        if not complete:
            return total
        if self.shard.count > 1:
            total = self.shard.all_reduce(total)
        if self.problem.decayed:
            λ_W, λ_H = self._decay(loss)
            along = λ_H * self.shard.all_reduce((at.H * tangent.H).sum((-2, -1), keepdim=True))
            total = total - along - λ_W * (at.W * tangent.W).sum((-2, -1), keepdim=True)
        return total

    def residual_change(self, at: Factors, change: Factors, loss: LossAt) -> Float[Tensor, "*batch"]:
        """The relative change of the residual to first order in a ``change`` of the point, where ``loss`` holds.

        Certificates, KKT residuals and the direction of F see an error of the state through this.
        """
        dZ = self._logits_change(at, change)
        return self.problem.loss.residual_change(loss, dZ, self.label_rows(dZ), self.shard.all_reduce)

    def _logits_change(self, at: Factors, change: Factors) -> Float[Tensor, "*batch K N"]:
        dZ = add_matmul(change.W @ at.H, at.W, change.H)
        return dZ if change.b is None else dZ.add_(change.b[..., None])

    def _of_all(self, loss: LossAt) -> LossAt:
        """The loss of all samples from those L_p of each process: log L = logsumexp_p log L_p, R/L = (L_p/L) R/L_p."""
        largest = -loss.margin
        log_losses, gaps = self.shard.all_gather(torch.stack([loss.log_loss, largest])).unbind(1)
        log_loss, log_scale, residual = log_losses.logsumexp(0), loss.log_scale, loss.residual
        if self.logarithmic:
            residual, log_scale = residual.mul_(clamped_exp_((loss.log_loss - log_loss)[..., None, None])), log_loss
        largest = gaps.amax(0)[..., None, None].expand_as(loss.largest_gaps)
        return LossAt(log_loss, residual, largest, log_scale, loss.memory)

    def label_rows(self, Z: Tensor) -> Tensor:
        """y as an index [..., 1, N] along the classes of Z [..., K, N]."""
        return self.labels.expand(*Z.shape[:-2], 1, Z.shape[-1])


def log_loss(problem: Problem, state: State) -> Float[Tensor, "*batch"]:
    """log Φ, the natural logarithm of what the problem minimises; by default the summed cross-entropy.

    Finite however small a loss of cross-entropy or the focal loss is; inf where Φ is beyond the number format. It has a
    gradient in the state's tensors if they ask for one: that of the closed form, right however small the loss is.

    Args:
        problem: What is minimised.
        state: W, H and perhaps b, with or without replicas.

    Returns:
        A number for each replica, with the replica axes of ``state``.

    Raises:
        TypeError: If one of both is something else.
        ValueError: If the state does not fit the problem.

    >>> problem = ulpm.Problem([1, 1], feature_dim=1)
    >>> state = ulpm.State(torch.tensor([[500.0], [-500.0]]), torch.tensor([[1.0, -1.0]]))
    >>> ulpm.log_loss(problem, state)  # log(2 e^−1000)
    tensor(-999.3068)
    """
    checked(problem).check(state)
    with torch.autocast(state.W.device.type, enabled=False):
        value: Tensor = _LogLoss.apply(Objective(problem, state.W.device), *state.factors)  # type: ignore[no-untyped-call]
    return value


def margin(problem: Problem, state: State) -> Float[Tensor, "*batch"]:
    """q_min = min_{i, j≠y_i} (Z_{y_i,i} − Z_{j,i}): positive exactly when the state classifies every sample strictly.

    It has a gradient in the state's tensors if they ask for one; where several gaps are the smallest one, the mean of
    theirs.

    Args:
        problem: What is minimised.
        state: W, H and perhaps b, with or without replicas.

    Returns:
        A number for each replica, with the replica axes of ``state``.

    Raises:
        TypeError: If one of both is something else.
        ValueError: If the state does not fit the problem.

    >>> problem = ulpm.Problem([1, 1], feature_dim=1)
    >>> state = ulpm.State(torch.tensor([[500.0], [-500.0]]), torch.tensor([[1.0, -1.0]]))
    >>> ulpm.margin(problem, state)
    tensor(1000.)
    """
    checked(problem).check(state)
    with torch.autocast(state.W.device.type, enabled=False):
        Z = state.W @ state.H if state.b is None else state.W @ state.H + state.b[..., None]
        rows = Objective(problem, Z.device).label_rows(Z)
        top = Z.scatter(-2, rows, -torch.inf).amax(-2, keepdim=True)
        return -(top - Z.gather(-2, rows)).amax((-2, -1))


class _LogLoss(torch.autograd.Function):
    """log Φ with its gradient, −F or −F/Φ; that of F are Jacobian products, since J is symmetric."""

    @staticmethod
    def forward(objective: Objective, W: Tensor, H: Tensor, b: Tensor | None) -> Tensor:
        return objective.loss(Factors(W, H, b)).log_loss

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Objective, Tensor, Tensor, Tensor | None], output: Tensor) -> None:
        ctx.objective, W, H, b = inputs
        ctx.save_for_backward(W, H, *([] if b is None else [b]))

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[None, Tensor, Tensor, Tensor | None]:
        W, H, *rest = ctx.saved_tensors
        b = rest[0] if rest else None
        force = _Force.apply(ctx.objective, W, H, b)  # type: ignore[no-untyped-call]
        if not ctx.objective.logarithmic:
            value = _LogLoss.apply(ctx.objective, W, H, b)  # type: ignore[no-untyped-call]
            slope = slope * torch.exp(-value)
        b_slope = -slope[..., None] * force[2] if rest else None
        slope = -slope[..., None, None]
        return None, slope * force[0], slope * force[1], b_slope


class _Force(torch.autograd.Function):
    """F."""

    @staticmethod
    def forward(objective: Objective, W: Tensor, H: Tensor, b: Tensor | None) -> tuple[Tensor, ...]:
        _, F = objective(Factors(W, H, b))
        return tuple(part for part in F if part is not None)

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[Objective, Tensor, Tensor, Tensor | None], output: tuple[Tensor, ...]
    ) -> None:
        ctx.objective, W, H, b = inputs
        ctx.save_for_backward(W, H, *([] if b is None else [b]))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[None, Tensor, Tensor, Tensor | None]:
        return None, *ctx.objective.jacobian_product(Factors(*ctx.saved_tensors), Factors(*slopes))


def matmul(a: Tensor, b: Tensor, out: Tensor | None) -> Tensor:
    """a b, written into ``out`` if it is given."""
    # Into a strided batch torch multiplies one matrix at a time; a product and a copy are many times faster.
    if out is None or out.is_contiguous():
        return torch.matmul(a, b, out=out)
    return out.copy_(a @ b)


def _two_products(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], out: Tensor | None) -> Tensor:
    """a b + c d."""
    if out is None or out.is_contiguous():
        return add_matmul(matmul(*first, out), *second)
    return out.copy_(add_matmul(first[0] @ first[1], *second))


def add_matmul(target: Tensor, a: Tensor, b: Tensor, alpha: int = 1) -> Tensor:
    """target + α a b, in place."""
    if target.ndim == 2:
        return target.addmm_(a, b, alpha=alpha)
    if target.ndim == 3 and target.is_contiguous():
        return target.baddbmm_(a, b, alpha=alpha)
    return target.add_(a @ b, alpha=alpha)
