"""One step of a Rosenbrock method on a batch of stiff autonomous systems, each with its own step size."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ulpm.flow.methods import RosenbrockTableau
from ulpm.flow.runge_kutta import RateFunction, Trial

__all__ = ["Linearisation", "RosenbrockKrylov"]


@runtime_checkable
class Linearisation(Protocol):
    """The Jacobian J of the right-hand side at one point, through its resolvent."""

    products: Int[Tensor, " B"]
    """Products with J so far."""
    stiffness: Float[Tensor, " B"]
    """A lower bound of the largest eigenvalue of −J, from the solves so far."""

    def solve(
        self, shift: Float[Tensor, " B"], rhs: Float[Tensor, "B D"], tolerance: Float[Tensor, " B"]
    ) -> Float[Tensor, "B D"]:
        """x with (shift·I − J) x = rhs to a residual of ``tolerance``; nan where that cannot be had."""
        ...


class RosenbrockKrylov:
    """Attempts steps of a RosenbrockTableau, with linear systems solved by whoever provides the Linearisation."""

    def __init__(self, tableau: RosenbrockTableau, dtype: torch.dtype, device: torch.device) -> None:
        def tensor(values: object) -> Tensor:
            return torch.tensor(values, dtype=dtype, device=device)

        self.order = tableau.order
        self.evaluations_per_step = len(tableau.a) + 1
        self._gamma = tableau.gamma
        self._a = [tensor(row) for row in tableau.a]
        self._c = [tensor(row) for row in tableau.c]
        self._dense = tensor(tableau.dense)
        self._stages: Tensor | None = None

    def step(
        self,
        rate_function: RateFunction,
        linearise: Callable[[Tensor], Linearisation],
        y: Float[Tensor, "B D"],
        rate: Float[Tensor, "B D"],
        step_size: Float[Tensor, " B"],
        tolerance: Float[Tensor, " B"],
    ) -> Trial:
        """Attempt y(s + h); each stage is solved for to an error of about ``tolerance`` in the state.

        Whatever is not finite, or cannot be solved for, gives a non-finite error, never an exception.
        """
        shift = 1 / (self._gamma * step_size)
        linear = linearise(y)
        stages = self._workspace(y)
        # The resolvent is at most 1/σ where J has no positive eigenvalue: a residual of tol·σ is an error of tol.
        residual = tolerance * shift
        stages[0] = linear.solve(shift, rate, residual)
        end = y
        for i, (a, c) in enumerate(zip(self._a, self._c, strict=True), start=1):
            end = self._combine(a, stages[:i]).add_(y)
            stage_rate, _ = rate_function(end)
            rhs = torch.addcdiv(stage_rate, self._combine(c, stages[:i]), step_size[:, None])
            stages[i] = linear.solve(shift, rhs, residual)
        end = end + stages[-1]
        end_rate, monitor = rate_function(end)
        error = stages[-1].clone()
        return Trial(y, end, end_rate, monitor, error, step_size, stages, linear.stiffness, linear.products)

    def interpolate(self, trial: Trial, rows: Tensor, theta: Float[Tensor, " S"]) -> Float[Tensor, "S D"]:
        """The states of the replicas ``rows`` [S] at the fraction ``theta`` of their step, by the interpolant."""
        bend = torch.stack([(1 - theta) * theta, (1 - theta) * theta * theta], 1) @ self._dense
        if len(trial.start) == 1:
            # The same sum without a copy of the stages.
            bent = bend @ trial.stages[:, 0]
        else:
            bent = torch.einsum("bs,sbd->bd", bend, trial.stages[:, rows])
        return torch.lerp(trial.start[rows], trial.end[rows], theta[:, None]) + bent

    def _workspace(self, y: Float[Tensor, "B D"]) -> Float[Tensor, "s B D"]:
        if self._stages is None or self._stages.shape[1:] != y.shape:
            self._stages = y.new_empty(len(self._a) + 1, *y.shape)
        return self._stages

    @staticmethod
    def _combine(weights: Float[Tensor, " i"], stages: Float[Tensor, "i B D"]) -> Float[Tensor, "B D"]:
        return (weights @ stages.flatten(1)).view(stages.shape[1:])
