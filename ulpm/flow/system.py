"""The flow as one autonomous system on flat vectors y = (W, H, T), T the clock: what steppers see of a Problem."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.linalg import vector_norm

from ulpm.field import LogLossField, Loss
from ulpm.flow.clock import clock_rate, clock_through_stiff_step, log_time
from ulpm.flow.krylov import conjugate_gradients
from ulpm.flow.runge_kutta import Trial
from ulpm.problem import Problem, State

__all__ = ["FlowLinearisation", "FlowSystem"]


class FlowSystem:
    """d(W, H)/ds = −∇ log L, dT/ds = 1 − T‖∇ log L‖², on vectors y [B, Kd + dN + 1], one row a replica."""

    def __init__(self, problem: Problem, device: torch.device) -> None:
        self.problem = problem
        self.field = LogLossField(problem, device)
        self.split = problem.num_classes * problem.feature_dim

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
        W = y[:, : self.split].view(-1, p.num_classes, p.feature_dim)
        H = y[:, self.split : -1].view(-1, p.feature_dim, p.num_samples)
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

    def linearise(self, y: Float[Tensor, "B D"]) -> "FlowLinearisation":
        """The Jacobian of the flow at y."""
        return FlowLinearisation(self, y)

    def time_stiff_step(
        self, step: Trial, start_rate: Float[Tensor, "B D"], start_log_loss: Float[Tensor, " B"]
    ) -> None:
        """Put the clock, its rate and its error into a step that was taken without it."""
        gradients = self._squared_gradient(start_rate), self._squared_gradient(step.end_rate)
        clock, error = clock_through_stiff_step(
            step.start[:, -1].double(),
            step.step_size.double(),
            (start_log_loss.double(), step.end_monitor.double()),
            gradients,
        )
        step.end[:, -1] = clock
        step.error[:, -1] = error
        step.end_rate[:, -1] = clock_rate(clock, gradients[1])

    def clock_inside_stiff_step(
        self,
        step: Trial,
        rows: Int[Tensor, " S"],
        theta: Float[Tensor, " S"],
        start_rate: Float[Tensor, "S D"],
        start_log_loss: Float[Tensor, " S"],
    ) -> Float[Tensor, " S"]:
        """T at the fraction ``theta`` of the step of the replicas ``rows``."""
        return clock_through_stiff_step(
            step.start[rows, -1].double(),
            step.step_size[rows].double(),
            (start_log_loss.double(), step.end_monitor[rows].double()),
            (self._squared_gradient(start_rate), self._squared_gradient(step.end_rate[rows])),
            theta.double(),
        )[0]

    @staticmethod
    def _squared_gradient(rate: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        squared: Tensor = vector_norm(rate[:, :-1], dim=1).double().square()
        return squared

    def error_ratio(
        self,
        start: Float[Tensor, "B D"],
        end: Float[Tensor, "B D"],
        end_log_loss: Float[Tensor, " B"],
        error: Float[Tensor, "B D"],
        rtol: float,
    ) -> Float[Tensor, " B"]:
        """The local error over the tolerance: ‖error in (W, H)‖/ρ or |error in log t|/max(1, log t), over ``rtol``.

        An error ε·T in T = t·L is an error ε in log t. However late, ε stays below √rtol/10, or t·L, which tends to
        v*/(2 log t), would mean nothing. Whatever is not finite becomes inf.
        """
        position = self.relative_size(end, error) / rtol
        log_t_error = error[:, -1].abs() / torch.maximum(start[:, -1], end[:, -1])
        allowed = rtol * log_time(end[:, -1], end_log_loss).clamp(min=1, max=max(1.0, 0.1 / math.sqrt(rtol)))
        ratio: Tensor = torch.maximum(position, log_t_error / allowed)
        return torch.where(torch.isfinite(ratio) & (end[:, -1] > 0), ratio, torch.inf)

    def first_step_size(
        self, y: Float[Tensor, "B D"], rate: Float[Tensor, "B D"], rtol: float, order: int
    ) -> Float[Tensor, " B"]:
        """A cautious first step; the controller soon finds the right size."""
        return float(0.1 * rtol ** (1 / order)) / self.relative_size(y, rate)

    @staticmethod
    def size(y: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """ρ = √(‖W‖² + ‖H‖²)."""
        rho: Tensor = vector_norm(y[:, :-1], dim=1)
        return rho

    @staticmethod
    def relative_size(y: Float[Tensor, "B D"], rate: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """The part of ``rate`` in (W, H) relative to ρ: ‖d(W, H)/ds‖/ρ; 0 at a critical point, also where ρ = 0."""
        size: Tensor = vector_norm(y[:, :-1], dim=1)
        speed: Tensor = vector_norm(rate[:, :-1], dim=1)
        return speed / size.clamp(min=float(torch.finfo(y.dtype).tiny))


class FlowLinearisation:
    """The Jacobian J = −∇² log L of the flow at one point, which is symmetric, by conjugate gradients.

    The clock is left out: its row and column count as zero, and ``FlowSystem.time_stiff_step`` gives T in closed form.
    """

    def __init__(self, system: FlowSystem, y: Float[Tensor, "B D"]) -> None:
        self._system = system
        self._W, self._H, _ = system.unpack(y)
        self._loss = system.field.loss(self._W, self._H)
        self.products = torch.zeros(len(y), dtype=torch.int64, device=y.device)
        self.stiffness = torch.zeros_like(y[:, 0])

    def solve(
        self, shift: Float[Tensor, " B"], rhs: Float[Tensor, "B D"], tolerance: Float[Tensor, " B"]
    ) -> Float[Tensor, "B D"]:
        """x with (shift·I − J) x = rhs in (W, H), to a residual of ``tolerance``, and 0 in T; nan if not converged."""
        solution = conjugate_gradients(self._product, shift, rhs[:, :-1].contiguous(), tolerance)
        self.products += solution.iterations
        self.stiffness = torch.maximum(self.stiffness, solution.stiffness)
        x = torch.zeros_like(rhs)
        x[:, :-1] = torch.where(solution.converged[:, None], solution.x, torch.nan)
        return x

    def _product(self, v: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """J v for vectors (W, H) without a clock."""
        p, split = self._system.problem, self._system.split
        image = torch.empty_like(v)

        def parts(vectors: Tensor) -> tuple[Tensor, Tensor]:
            W = vectors[:, :split].view(-1, p.num_classes, p.feature_dim)
            return W, vectors[:, split:].view(-1, p.feature_dim, p.num_samples)

        self._system.field.jacobian_product(self._W, self._H, *parts(v), loss=self._loss, out=parts(image))
        return image
