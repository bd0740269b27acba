"""The flow as an autonomous system on flat vectors y = (W, H): what steppers see of a Problem."""

import torch
from jaxtyping import Float
from torch import Tensor

from ulpm.field import LogLossField, Loss
from ulpm.flow.krylov import ConjugateGradients
from ulpm.problem import Problem, State

__all__ = ["FlowLinearisation", "FlowSystem"]


class FlowSystem:
    """d(W, H)/ds = −∇ log L in rescaled time ds = L dt, on vectors y [B, Kd + dN], one row a replica."""

    def __init__(self, problem: Problem, device: torch.device) -> None:
        self.problem = problem
        self.field = LogLossField(problem, device)
        self.split = problem.num_classes * problem.feature_dim
        self._solver = ConjugateGradients()

    def pack(self, state: State) -> Float[Tensor, "B D"]:
        """The vectors of a state with at most one replica axis."""
        y = torch.cat([state.W.flatten(-2), state.H.flatten(-2)], -1)
        return y if y.ndim == 2 else y[None]

    def unpack(self, y: Float[Tensor, "B D"]) -> tuple[Float[Tensor, "B K d"], Float[Tensor, "B d N"]]:
        """Views W and H of vectors."""
        p = self.problem
        W = y[:, : self.split].view(-1, p.num_classes, p.feature_dim)
        return W, y[:, self.split :].view(-1, p.feature_dim, p.num_samples)

    def rate(self, y: Float[Tensor, "B D"], out: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """Write dy/ds into ``out`` and return log L."""
        return self.field(*self.unpack(y), out=self.unpack(out))[0].log_loss

    def loss(self, y: Float[Tensor, "B D"]) -> Loss:
        """log L, residual and margin at y, a third of the cost of ``rate``."""
        return self.field.loss(*self.unpack(y))

    def linearise(self, y: Float[Tensor, "B D"]) -> "FlowLinearisation":
        """The Jacobian of the flow at y."""
        return FlowLinearisation(self, y, self._solver)


class FlowLinearisation:
    """The Jacobian J = −∇² log L of the flow at one point, which is symmetric, by conjugate gradients."""

    def __init__(self, system: FlowSystem, y: Float[Tensor, "B D"], solver: ConjugateGradients) -> None:
        self._system, self._solver = system, solver
        self._W, self._H = system.unpack(y)
        self._loss = system.field.loss(self._W, self._H)
        self.products = torch.zeros(len(y), dtype=torch.int64, device=y.device)
        self.stiffness = torch.zeros_like(y[:, 0])

    def solve(
        self,
        shift: Float[Tensor, " B"],
        rhs: Float[Tensor, "B D"],
        tolerance: Float[Tensor, " B"],
        out: Float[Tensor, "B D"],
    ) -> None:
        """Write x with (shift·I − J) x = rhs, to a residual of ``tolerance``, into ``out``; nan if not converged."""
        solution = self._solver.solve(self.product, shift, rhs, tolerance, out)
        self.products += solution.iterations
        self.stiffness = torch.maximum(self.stiffness, solution.stiffness)
        out.masked_fill_(~solution.converged[:, None], torch.nan)

    def form(self, v: Float[Tensor, "B D"], work: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """vᵀ J v; ``work`` is overwritten by J v."""
        self.product(v, work)
        self.products += 1
        form: Tensor = torch.linalg.vecdot(v, work)
        return form

    def product(self, v: Float[Tensor, "B D"], out: Float[Tensor, "B D"]) -> None:
        """Write J v into ``out``."""
        unpack = self._system.unpack
        self._system.field.jacobian_product(self._W, self._H, *unpack(v), loss=self._loss, out=unpack(out))
