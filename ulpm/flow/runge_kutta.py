"""One step of an explicit Runge–Kutta pair on a batch of autonomous systems, each with its own step size."""

import dataclasses
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.linalg import vector_norm

from ulpm.flow.methods import Tableau

__all__ = ["ExplicitRungeKutta", "RateFunction", "Trial"]

RateFunction = Callable[[Tensor], tuple[Tensor, Tensor]]
"""y [B, D] → (dy/ds [B, D], a quantity [B] that the right-hand side knows anyway and the caller wants at the end)."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """What one attempted step gives: the state, rate and monitored quantity at its end, its local error, its stages.

    ``stiffness`` estimates the largest eigenvalue of −J met in the step, and ``products`` counts products with J.
    """

    start: Float[Tensor, "B D"]
    end: Float[Tensor, "B D"]
    end_rate: Float[Tensor, "B D"]
    end_monitor: Float[Tensor, " B"]
    error: Float[Tensor, "B D"]
    step_size: Float[Tensor, " B"]
    stages: Float[Tensor, "s B D"]
    stiffness: Float[Tensor, " B"] | None = None
    products: Int[Tensor, " B"] | None = None


class ExplicitRungeKutta:
    """Attempts steps of a Tableau in one precision on one device.

    A step is a function of its arguments alone; the stages of its Trial are valid until the next step.
    """

    def __init__(self, tableau: Tableau, dtype: torch.dtype, device: torch.device) -> None:
        def tensor(values: object) -> Tensor:
            return torch.tensor(values, dtype=dtype, device=device)

        self.order = tableau.order
        self.evaluations_per_step = len(tableau.stages)
        self._rows = [tensor(row) for row in tableau.stages]
        self._error = tensor(tableau.error)
        self._dense = tensor(tableau.dense)
        self._stages: Tensor | None = None

    def step(
        self,
        rate_function: RateFunction,
        y: Float[Tensor, "B D"],
        rate: Float[Tensor, "B D"],
        step_size: Float[Tensor, " B"],
    ) -> Trial:
        """Attempt y(s + h) from y(s) and its rate. A non-finite stage gives a non-finite error, never an exception."""
        h = step_size[:, None]
        stages = self._workspace(y)
        stages[0] = rate
        end, end_rate, monitor = y, rate, step_size
        for i, row in enumerate(self._rows, start=1):
            before, before_rate = end, end_rate
            increment = self._combine(row, stages[:i])
            end = torch.addcmul(y, h, increment, out=increment)
            end_rate, monitor = rate_function(end)
            stages[i] = end_rate
        error = self._combine(self._error, stages).mul_(h)
        # The last two stages are at the same time: the states differ in what is stiff (Hairer and Wanner, 1996, IV.2).
        stiffness = vector_norm(end_rate - before_rate, dim=1) / vector_norm(end - before, dim=1)
        return Trial(y, end, end_rate, monitor, error, step_size, stages, stiffness)

    def interpolate(self, trial: Trial, rows: Tensor, theta: Float[Tensor, " S"]) -> Float[Tensor, "S D"]:
        """The states of the replicas ``rows`` [S] at the fraction ``theta`` of their step, by the interpolant."""
        # Not torch.pow, which flushes a tiny θ to zero.
        powers = theta[:, None].expand(-1, self._dense.shape[1]).cumprod(1)
        weights = trial.step_size[rows, None] * (powers @ self._dense.T)
        if len(trial.start) == 1:
            # The same sum without a copy of the stages.
            return trial.start + weights @ trial.stages[:, 0]
        return trial.start[rows] + torch.einsum("bs,sbd->bd", weights, trial.stages[:, rows])

    def _workspace(self, y: Float[Tensor, "B D"]) -> Float[Tensor, "s B D"]:
        # Fresh memory of this size would be mapped, and its pages faulted in, at every step.
        if self._stages is None or self._stages.shape[1:] != y.shape:
            self._stages = y.new_empty(len(self._error), *y.shape)
        return self._stages

    @staticmethod
    def _combine(weights: Float[Tensor, " i"], stages: Float[Tensor, "i B D"]) -> Float[Tensor, "B D"]:
        return (weights @ stages.flatten(1)).view(stages.shape[1:])
