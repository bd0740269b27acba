"""One step of an explicit Runge–Kutta pair on a batch of autonomous systems, each with its own step size."""

import dataclasses
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from ulpm.flow.methods import Tableau

__all__ = ["ExplicitRungeKutta", "RateFunction", "Trial"]

RateFunction = Callable[[Tensor], tuple[Tensor, Tensor]]
"""y [B, D] → (dy/ds [B, D], a quantity [B] that the right-hand side knows anyway and the caller wants at the end)."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """What one attempted step gives: the state, rate and monitored quantity at its end, its local error, its stages."""

    start: Float[Tensor, "B D"]
    end: Float[Tensor, "B D"]
    end_rate: Float[Tensor, "B D"]
    end_monitor: Float[Tensor, " B"]
    error: Float[Tensor, "B D"]
    step_size: Float[Tensor, " B"]
    stages: Float[Tensor, "s B D"]


class ExplicitRungeKutta:
    """Attempts steps of a Tableau in one precision on one device. A step is a function of its arguments alone."""

    def __init__(self, tableau: Tableau, dtype: torch.dtype, device: torch.device) -> None:
        def tensor(values: object) -> Tensor:
            return torch.tensor(values, dtype=dtype, device=device)

        self.order = tableau.order
        self.evaluations_per_step = len(tableau.stages)
        self._rows = [tensor(row) for row in tableau.stages]
        self._error = tensor(tableau.error)
        self._dense = tensor(tableau.dense)

    def step(
        self,
        rate_function: RateFunction,
        y: Float[Tensor, "B D"],
        rate: Float[Tensor, "B D"],
        step_size: Float[Tensor, " B"],
    ) -> Trial:
        """Attempt y(s + h) from y(s) and its rate. A non-finite stage gives a non-finite error, never an exception."""
        h = step_size[:, None]
        stages = y.new_empty(len(self._error), *y.shape)
        stages[0] = rate
        end, monitor = y, step_size
        for i, row in enumerate(self._rows, start=1):
            end = torch.addcmul(y, h, self._combine(row, stages[:i]))
            stages[i], monitor = rate_function(end)
        error = h * self._combine(self._error, stages)
        return Trial(y, end, stages[-1], monitor, error, step_size, stages)

    def interpolate(self, trial: Trial, rows: Tensor, theta: Float[Tensor, " S"]) -> Float[Tensor, "S D"]:
        """The states of the replicas ``rows`` [S] at the fraction ``theta`` of their step, by the interpolant."""
        powers = theta[:, None] ** torch.arange(1, self._dense.shape[1] + 1, device=theta.device)
        weights = trial.step_size[rows, None] * (powers @ self._dense.T)
        return trial.start[rows] + torch.einsum("bs,sbd->bd", weights, trial.stages[:, rows])

    @staticmethod
    def _combine(weights: Float[Tensor, " i"], stages: Float[Tensor, "i B D"]) -> Float[Tensor, "B D"]:
        return (weights @ stages.flatten(1)).view(stages.shape[1:])
