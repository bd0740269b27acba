"""The flow as an autonomous system on flat vectors y = (W, b, H): what steppers see of a Problem."""

import dataclasses
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from ulpm.distributed import ALONE, Shard
from ulpm.flow import reduction
from ulpm.flow.krylov import KEPT, ConjugateGradients, KnownImage, KrylovSolution, Solves
from ulpm.flow.layout import Layout
from ulpm.flow.reduction import Reduction
from ulpm.flow.refinement import Refinement
from ulpm.flow.runge_kutta import RateFunction
from ulpm.flow.vectors import single
from ulpm.losses import LossAt
from ulpm.objective import Objective
from ulpm.problem import Problem
from ulpm.state import Factors

__all__ = ["FlowLinearisation", "FlowSystem"]

_Product: TypeAlias = Callable[[Tensor, Tensor], None]

# e^700 is about the largest float64, e^88 the largest float32.
_NEAR = 40.0


class FlowSystem:
    """d(W, b, H)/ds = F of ``Objective``, in ds = Φ dt or ds = dt, on vectors of its ``layout``, one row a replica."""

    def __init__(
        self,
        problem: Problem,
        device: torch.device,
        shard: Shard = ALONE,
        product_dtype: torch.dtype | None = None,
    ) -> None:
        self.problem = problem
        self.objective = Objective(problem, device, shard)
        self.layout = Layout(problem, shard)
        # How many iterations each linear solve of a step makes without asking the device whether they are enough; empty
        # to ask. It changes no number of a solve that converges.
        self.unasked: Sequence[int] = ()
        self._solver = ConjugateGradients(self.layout)
        self._refinement = None if product_dtype is None else Refinement(product_dtype, self.layout)
        # Of vectors of the length of a reduction.
        self._reduced_solver = ConjugateGradients()

    def rate(self, y: Float[Tensor, "B D"], out: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """Write dy/ds into ``out`` and return log Φ."""
        at, rate = self.layout.unpack(single(y)), self.layout.unpack(single(out))
        return self.objective(at, rate)[0].log_loss.view(-1)

    def rate_and_margin(
        self, y: Float[Tensor, "B D"], out: Float[Tensor, "B D"]
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        """Write dy/ds into ``out`` and return log Φ and the margin."""
        loss, _ = self.objective(self.layout.unpack(y), self.layout.unpack(out))
        return loss.log_loss, loss.margin

    def rate_near(self, log_loss: Float[Tensor, " B"], change: Float[Tensor, " B"]) -> RateFunction:
        """``rate`` at points whose log L differs from ``log_loss`` by about ``change``, both on the host.

        Where that is little, processes need one message an evaluation instead of two.
        """
        if not self.objective.fused or not bool((change.abs() < _NEAR).all()):
            return self.rate

        def rate(y: Tensor, out: Tensor) -> Tensor:
            return self.objective.rate(self.layout.unpack(y), log_loss.to(y), self.layout.unpack(out))

        return rate

    def loss(self, y: Float[Tensor, "B D"]) -> LossAt:
        """log Φ, residual and margin at y, a third of the cost of ``rate``."""
        return self.objective.loss(self.layout.unpack(y))

    def products_and_loss(self, y: Float[Tensor, "B D"]) -> tuple[Float[Tensor, "B K n"], LossAt]:
        """W H, which records want as well, and ``loss``."""
        at = self.layout.unpack(y)
        products = at.W @ at.H
        return products, self.objective.loss(at, products)

    def residual_change(
        self, y: Float[Tensor, "B D"], change: Float[Tensor, "B D"], loss: LossAt
    ) -> Float[Tensor, " B"]:
        """The relative change of the residual by a small ``change`` of ``y``, where ``loss`` is that at ``y``."""
        return self.objective.residual_change(self.layout.unpack(y), self.layout.unpack(change), loss)

    def linearise(self, y: Float[Tensor, "B D"]) -> "FlowLinearisation":
        """The Jacobian of the flow at y."""
        refinement = self._refinement
        if refinement is not None and refinement.dtype == y.dtype:
            refinement = None  # there is nothing to refine
        if refinement is None and reduction.worthwhile(self.objective):
            return FlowLinearisation(self, y, self._reduced_solver, reduced=True)
        return FlowLinearisation(self, y, self._solver, refinement)


class FlowLinearisation:
    """The Jacobian J of the flow at one point, which is symmetric, by conjugate gradients.

    With a ``refinement`` most products are in its precision: of the residual and the state as they are in that of y,
    rounded, not of what the logits would be in it.
    """

    def __init__(
        self,
        system: FlowSystem,
        y: Float[Tensor, "B D"],
        solver: ConjugateGradients,
        refinement: Refinement | None = None,
        reduced: bool = False,
    ) -> None:
        self._system, self._solver, self._refinement = system, solver, refinement
        at = system.layout.unpack(single(y))
        loss = system.objective.loss(at)
        self._point = _Point(at, loss, system.objective.shared_gradient(at, loss))
        self._low = None if refinement is None else self._point.to(refinement.dtype)
        self._reduction = Reduction(system.objective, at, loss) if reduced else None
        self._known: deque[KnownImage] = deque(maxlen=KEPT)
        self.stiffness = torch.zeros_like(y[:, 0])
        self.solves = Solves.none(self.stiffness)

    def solve(
        self,
        shift: Float[Tensor, " B"],
        rhs: Float[Tensor, "B D"],
        tolerance: Float[Tensor, " B"],
        out: Float[Tensor, "B D"],
    ) -> None:
        """Write x with (shift·I − J) x = rhs, to a residual of ``tolerance``, into ``out``; nan if not converged."""
        if self._reduction is None:
            solution = self._iterate(self.product, shift, rhs, tolerance, out)
        else:
            start = self._reduction.coordinates(rhs)
            image, x = start.clone(), torch.empty_like(start)
            # What is nan in coordinates is nan in the vector.
            solution = self._iterate(self._reduction.product, shift, image, tolerance, x)
            self._reduction.complete(x, start, rhs, 1 / shift, out)
        self.solves = self.solves.after(solution)
        self.stiffness = torch.maximum(self.stiffness, solution.stiffness)

    def _iterate(self, product: _Product, shift: Tensor, rhs: Tensor, tolerance: Tensor, out: Tensor) -> KrylovSolution:
        """Solve, from what the last solves found; ``rhs`` becomes the image of ``out``."""
        known = tuple(reversed(self._known))
        if self._refinement is None:
            unasked = self._system.unasked
            enough = unasked[len(self.solves.iterations)] if unasked else None
            solution = self._solver.solve(product, shift, rhs, tolerance, out, known, enough)
        else:
            solution = self._refinement.solve(product, self._low_product, shift, rhs, tolerance, out, known)
        failed = ~solution.converged[:, None]
        out.masked_fill_(failed, torch.nan)
        rhs.masked_fill_(failed, torch.nan)
        self._known.append((out, rhs))
        return solution

    def product(self, v: Float[Tensor, "B D"], out: Float[Tensor, "B D"]) -> None:
        """Write J v into ``out``."""
        self._product(self._point, v, out)

    def _low_product(self, v: Float[Tensor, "B D"], out: Float[Tensor, "B D"]) -> None:
        assert self._low is not None
        self._product(self._low, v, out)

    def _product(self, point: "_Point", v: Float[Tensor, "B D"], out: Float[Tensor, "B D"]) -> None:
        tangent, image = (self._system.layout.unpack(single(vectors)) for vectors in (v, out))
        self._system.objective.jacobian_product(point.at, tangent, point.loss, image, point.W_dot)


@dataclasses.dataclass(frozen=True)
class _Point:
    """What products with J need: the state, its loss, and R Hᵀ of all samples or None."""

    at: Factors
    loss: LossAt
    W_dot: Float[Tensor, "*B K d"] | None

    def to(self, dtype: torch.dtype) -> "_Point":
        """The same rounded."""
        W, H, b = self.at
        at = Factors(W.to(dtype), H.to(dtype), None if b is None else b.to(dtype))
        return _Point(at, self.loss.to(dtype), None if self.W_dot is None else self.W_dot.to(dtype))
