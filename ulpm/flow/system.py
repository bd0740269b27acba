"""The flow as an autonomous system on flat vectors y = (W, H): what steppers see of a Problem."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ulpm.distributed import ALONE, Shard
from ulpm.field import LogLossField, Loss
from ulpm.flow.inner_product import InnerProduct
from ulpm.flow.krylov import ConjugateGradients, KnownImage
from ulpm.flow.runge_kutta import RateFunction
from ulpm.problem import Problem, State

__all__ = ["FlowLinearisation", "FlowSystem"]

# e^700 is about the largest float64, e^88 the largest float32.
_NEAR = 40.0


class FlowSystem:
    """d(W, H)/ds = −∇ log L in rescaled time ds = L dt, on vectors y [B, Kd + dN], one row a replica.

    With a ``shard`` the vectors of this process hold the columns of H that are its own. ``numbers`` is Kd + dN of the
    whole, by which processes take the same decisions.
    """

    def __init__(self, problem: Problem, device: torch.device, shard: Shard = ALONE) -> None:
        self.problem = problem
        self.shard = shard
        self.field = LogLossField(problem, device, shard)
        self.split = problem.num_classes * problem.feature_dim
        self.numbers = self.split + problem.feature_dim * problem.num_samples
        self.inner = InnerProduct(self.split, shard)
        self._solver = ConjugateGradients(self.inner)

    def pack(self, state: State) -> Float[Tensor, "B D"]:
        """The vectors of a state with at most one replica axis."""
        y = torch.cat([state.W.flatten(-2), state.H.flatten(-2)], -1)
        return y if y.ndim == 2 else y[None]

    def unpack(self, y: Float[Tensor, "B D"]) -> tuple[Float[Tensor, "B K d"], Float[Tensor, "B d N"]]:
        """Views W and H of vectors."""
        p = self.problem
        W, H = y.split_with_sizes((self.split, y.shape[1] - self.split), 1)
        return W.view(-1, p.num_classes, p.feature_dim), H.view(-1, p.feature_dim, len(self.field.labels))

    def whole(self, y: Float[Tensor, "B D"]) -> Float[Tensor, "B all"]:
        """Vectors with all columns of H, from those of each process."""
        if self.shard.count == 1:
            return y
        W, H = self.unpack(y)
        return self.pack(State(W, self.shard.join(H, self.problem.num_samples)))

    def own(self, y: Float[Tensor, "B all"]) -> Float[Tensor, "B D"]:
        """Of vectors with all columns of H what is this process's."""
        if self.shard.count == 1:
            return y
        p = self.problem
        H = y[:, self.split :].view(-1, p.feature_dim, p.num_samples)[..., self.shard.part(p.num_samples)]
        return torch.cat([y[:, : self.split], H.flatten(1)], 1)

    def rate(self, y: Float[Tensor, "B D"], out: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """Write dy/ds into ``out`` and return log L."""
        return self.field(*self.unpack(y), out=self.unpack(out))[0].log_loss

    def rate_and_margin(
        self, y: Float[Tensor, "B D"], out: Float[Tensor, "B D"]
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        """Write dy/ds into ``out`` and return log L and the margin."""
        loss, _, _ = self.field(*self.unpack(y), out=self.unpack(out))
        return loss.log_loss, loss.margin

    def rate_near(self, log_loss: Float[Tensor, " B"], change: Float[Tensor, " B"]) -> RateFunction:
        """``rate`` at points whose log L differs from ``log_loss`` by about ``change``, both on the host.

        Where that is little, processes need one message an evaluation instead of two.
        """
        if self.shard.count == 1 or not bool((change.abs() < _NEAR).all()):
            return self.rate

        def rate(y: Tensor, out: Tensor) -> Tensor:
            return self.field.rate(*self.unpack(y), log_loss.to(y), self.unpack(out))

        return rate

    def loss(self, y: Float[Tensor, "B D"]) -> Loss:
        """log L, residual and margin at y, a third of the cost of ``rate``."""
        return self.field.loss(*self.unpack(y))

    def residual_change(self, y: Float[Tensor, "B D"], change: Float[Tensor, "B D"], loss: Loss) -> Float[Tensor, " B"]:
        """The relative change of the residual by a small ``change`` of ``y``, where ``loss`` is that at ``y``."""
        return self.field.residual_change(*self.unpack(y), *self.unpack(change), loss)

    def linearise(self, y: Float[Tensor, "B D"]) -> "FlowLinearisation":
        """The Jacobian of the flow at y."""
        return FlowLinearisation(self, y, self._solver)


class FlowLinearisation:
    """The Jacobian J = −∇² log L of the flow at one point, which is symmetric, by conjugate gradients."""

    def __init__(self, system: FlowSystem, y: Float[Tensor, "B D"], solver: ConjugateGradients) -> None:
        self._system, self._solver = system, solver
        self._W, self._H = system.unpack(y)
        self._loss = system.field.loss(self._W, self._H)
        # What a product asks for if there are several processes.
        self._W_dot = system.shard.sum(self._loss.residual @ self._H.mT) if system.shard.count > 1 else None
        self.products = torch.zeros(len(y), dtype=torch.int64, device=y.device)
        self.stiffness = torch.zeros_like(y[:, 0])

    def solve(
        self,
        shift: Float[Tensor, " B"],
        rhs: Float[Tensor, "B D"],
        tolerance: Float[Tensor, " B"],
        out: Float[Tensor, "B D"],
        known: Sequence[KnownImage] = (),
    ) -> None:
        """Write x with (shift·I − J) x = rhs, to a residual of ``tolerance``, into ``out``; nan if not converged.

        ``rhs`` becomes (shift·I − J) x, for ``known`` of later solves: pairs of an x and its image.
        """
        solution = self._solver.solve(self.product, shift, rhs, tolerance, out, known)
        self.products += solution.iterations
        self.stiffness = torch.maximum(self.stiffness, solution.stiffness)
        failed = ~solution.converged[:, None]
        out.masked_fill_(failed, torch.nan)
        rhs.masked_fill_(failed, torch.nan)

    def product(self, v: Float[Tensor, "B D"], out: Float[Tensor, "B D"]) -> None:
        """Write J v into ``out``."""
        unpack = self._system.unpack
        field = self._system.field
        field.jacobian_product(self._W, self._H, *unpack(v), loss=self._loss, out=unpack(out), W_dot=self._W_dot)
