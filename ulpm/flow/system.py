"""The flow as one autonomous system on flat vectors y = (W, H, T), T the clock: what steppers see of a Problem."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.linalg import vector_norm

from ulpm.field import LogLossField, Loss
from ulpm.flow.clock import clock_rate, log_time
from ulpm.problem import Problem, State

__all__ = ["FlowSystem"]


class FlowSystem:
    """d(W, H)/ds = −∇ log L, dT/ds = 1 − T‖∇ log L‖², on vectors y [B, Kd + dN + 1], one row a replica."""

    def __init__(self, problem: Problem, device: torch.device) -> None:
        self.problem = problem
        self.field = LogLossField(problem, device)
        self._split = problem.num_classes * problem.feature_dim

    def pack(self, state: State) -> Float[Tensor, "B D"]:
        """The vectors of a state with at most one replica axis, at t = 0."""
        W, H = state.W.flatten(-2), state.H.flatten(-2)
        y = torch.cat([W, H, W.new_zeros(*W.shape[:-1], 1)], -1)
        return y if y.ndim == 2 else y[None]

    def unpack(
        self, y: Float[Tensor, "B D"]
    ) -> tuple[Float[Tensor, "B K d"], Float[Tensor, "B d N"], Float[Tensor, " B"]]:
        """Views W, H and T of vectors."""
        p = self.problem
        W = y[:, : self._split].view(-1, p.num_classes, p.feature_dim)
        H = y[:, self._split : -1].view(-1, p.feature_dim, p.num_samples)
        return W, H, y[:, -1]

    def rate(self, y: Float[Tensor, "B D"]) -> tuple[Float[Tensor, "B D"], Float[Tensor, " B"]]:
        """dy/ds and log L."""
        W, H, clock = self.unpack(y)
        rate = torch.empty_like(y)
        W_rate, H_rate, _ = self.unpack(rate)
        loss, _, _ = self.field(W, H, out=(W_rate, H_rate))
        rate[:, -1] = clock_rate(clock, vector_norm(rate[:, :-1], dim=1).square())
        return rate, loss.log_loss

    def loss(self, y: Float[Tensor, "B D"]) -> Loss:
        """log L, residual and margin at y, a third of the cost of ``rate``."""
        W, H, _ = self.unpack(y)
        return self.field.loss(W, H)

    def error_ratio(
        self,
        start: Float[Tensor, "B D"],
        end: Float[Tensor, "B D"],
        end_log_loss: Float[Tensor, " B"],
        error: Float[Tensor, "B D"],
        rtol: float,
    ) -> Float[Tensor, " B"]:
        """The local error over the tolerance: ‖error in (W, H)‖/ρ or |error in log t|/max(1, log t), over ``rtol``.

        An error ε·T in T is an error ε in log t. Whatever is not finite becomes inf.
        """
        position = self.relative_size(end, error)
        log_t_error = error[:, -1].abs() / torch.maximum(start[:, -1], end[:, -1])
        clock = log_t_error / log_time(end[:, -1], end_log_loss).clamp(min=1)
        ratio: Tensor = torch.maximum(position, clock) / rtol
        return torch.where(torch.isfinite(ratio) & (end[:, -1] > 0), ratio, torch.inf)

    def first_step_size(
        self, y: Float[Tensor, "B D"], rate: Float[Tensor, "B D"], rtol: float, order: int
    ) -> Float[Tensor, " B"]:
        """A cautious first step; the controller soon finds the right size."""
        return float(0.1 * rtol ** (1 / order)) / self.relative_size(y, rate)

    @staticmethod
    def relative_size(y: Float[Tensor, "B D"], rate: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """The part of ``rate`` in (W, H) relative to ρ: ‖d(W, H)/ds‖/ρ; 0 at a critical point, also where ρ = 0."""
        size: Tensor = vector_norm(y[:, :-1], dim=1)
        speed: Tensor = vector_norm(rate[:, :-1], dim=1)
        return speed / size.clamp(min=float(torch.finfo(y.dtype).tiny))
