"""One step of an explicit Runge–Kutta pair on a batch of autonomous systems, each with its own step size."""

import dataclasses
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ulpm.flow.krylov import Solves
from ulpm.flow.methods import Tableau
from ulpm.flow.vectors import PLAIN, Vectors, combine, take, weighted_sums

__all__ = ["ExplicitRungeKutta", "RateFunction", "Trial", "Workspace"]

_ALIGNMENT = 16

RateFunction = Callable[[Tensor, Tensor], Tensor]
"""(y [B, D], out [B, D]) ↦ m [B]: writes dy/ds into ``out``, and returns a quantity that the right-hand side knows
anyway and the caller wants at the end of a step."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """What one attempted step gives: the state, rate and monitored quantity at its end, its local error, its stages.

    ``middle`` is the interpolant's state half-way. ``stiffness`` estimates the largest eigenvalue of −J that was met. A
    stiff step also says what its ``solves`` took.
    """

    start: Float[Tensor, "B D"]
    middle: Float[Tensor, "B D"]
    end: Float[Tensor, "B D"]
    end_rate: Float[Tensor, "B D"]
    end_monitor: Float[Tensor, " B"]
    error: Float[Tensor, "B D"]
    step_size: Float[Tensor, " B"]
    stages: Float[Tensor, "s B D"]
    stiffness: Float[Tensor, " B"]
    solves: Solves | None = None


class Workspace:
    """The full-size vectors that steppers work in, kept from step to step: fresh ones would be faulted in page by page.

    Steppers may share one, as long as what a Trial holds is used before the next step. It has room for ``most`` stages
    from the beginning: to grow while a state is in the old memory would take both.
    """

    def __init__(self, most: int = 0) -> None:
        self._most = most
        self._memory: Tensor | None = None
        self._vectors: Tensor | None = None

    def vectors(
        self, num_stages: int, y: Float[Tensor, "B D"]
    ) -> tuple[Float[Tensor, "s B D"], Float[Tensor, "B D"], Float[Tensor, "B D"], Float[Tensor, "B D"]]:
        """``num_stages`` vectors, a scratch vector and two points of the shape of ``y``, neither of which is ``y``."""
        count = max(num_stages, self._most) + 4
        v = self._vectors
        if v is None or len(v) < count or v.shape[1:] != y.shape or v.dtype != y.dtype or v.device != y.device:
            # Each starts where any tensor may, at a multiple of 64 bytes: what libraries compute can depend on that.
            stride = -(-y.numel() // _ALIGNMENT) * _ALIGNMENT
            memory = self._memory
            if memory is None or len(memory) < count * stride or memory.dtype != y.dtype or memory.device != y.device:
                memory = self._memory = y.new_empty(count * stride)
            v = self._vectors = memory.as_strided((count, *y.shape), (stride, y.shape[1], 1))
        # y may be the end of an earlier step, which is one of the three points.
        first, second, *_ = (point for point in v[:3] if point.data_ptr() != y.data_ptr())
        return v[4 : 4 + num_stages], v[3], first, second


class ExplicitRungeKutta:
    """Attempts steps of a Tableau in one precision on one device.

    A step is a function of its arguments alone. What its Trial holds is valid until the next step in the same
    workspace, and ``end`` while steps start there.
    """

    def __init__(
        self,
        tableau: Tableau,
        dtype: torch.dtype,
        device: torch.device,
        work: Workspace,
        layout: Vectors = PLAIN,
    ) -> None:
        def tensor(values: object) -> Tensor:
            return torch.tensor(values, dtype=dtype, device=device)

        self.order = tableau.order
        self.evaluations_per_step = len(tableau.stages)
        self._rows = [tensor(row) for row in tableau.stages]
        self._error = tensor(tableau.error)
        self._dense = tensor(tableau.dense)
        self._middle = self._dense @ tensor([0.5**p for p in range(1, self._dense.shape[1] + 1)])
        self._work = work
        self._layout = layout

    def step(
        self,
        rate_function: RateFunction,
        y: Float[Tensor, "B D"],
        rate: Float[Tensor, "B D"],
        step_size: Float[Tensor, " B"],
    ) -> Trial:
        """Attempt y(s + h) from y(s) and its rate. A non-finite stage gives a non-finite error, never an exception."""
        h = step_size[:, None]
        stages, scratch, point, other = self._work.vectors(len(self._error), y)
        stages[0].copy_(rate)
        monitor = step_size
        for i, row in enumerate(self._rows, start=1):
            point, other = other, point
            self._layout.advance(y, h, row, stages[:i], point)
            monitor = rate_function(point, stages[i])
        end, before = point, other
        # The last two stages are at the same time: the states differ in what is stiff (Hairer and Wanner, 1996, IV.2).
        apart, moved = self._layout.norms(
            torch.sub(stages[-1], stages[-2], out=scratch), torch.sub(end, before, out=before)
        )
        middle = self._layout.advance(y, h, self._middle, stages, before)
        error = combine(self._error, stages, scratch).mul_(h)
        return Trial(y, middle, end, stages[-1], monitor, error, step_size, stages, apart / moved)

    def interpolate(self, trial: Trial, theta: Float[Tensor, " S"], rows: Int[Tensor, " S"]) -> Float[Tensor, "S D"]:
        """The states at fractions of the steps of some replicas, by the interpolant."""
        # Not torch.pow, which flushes a tiny θ to zero.
        powers = theta[:, None].expand(-1, self._dense.shape[1]).cumprod(1)
        weights = trial.step_size[rows, None] * (powers @ self._dense.T)
        return weighted_sums(weights, trial.stages, rows).add_(take(trial.start, rows))
