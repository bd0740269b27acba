"""One step of a Rosenbrock method on a batch of stiff autonomous systems, each with its own step size."""

from collections import deque
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ulpm.flow.krylov import KEPT, Solves
from ulpm.flow.methods import RosenbrockTableau
from ulpm.flow.runge_kutta import RateFunction, Trial, Workspace
from ulpm.flow.vectors import combine, take, weighted_sums

__all__ = ["Linearisation", "RosenbrockKrylov", "vectors_of"]


@runtime_checkable
class Linearisation(Protocol):
    """The Jacobian J of the right-hand side at one point, through its resolvent."""

    solves: Solves
    """What the solves took so far."""
    stiffness: Float[Tensor, " B"]
    """A lower bound of the largest eigenvalue of −J, from the solves so far."""

    def solve(
        self,
        shift: Float[Tensor, " B"],
        rhs: Float[Tensor, "B D"],
        tolerance: Float[Tensor, " B"],
        out: Float[Tensor, "B D"],
    ) -> None:
        """Write x with (shift·I − J) x = rhs, to a residual of ``tolerance``, into ``out``; nan where there is none.

        ``rhs`` may be written over. It and ``out`` are the caller's again after ``KEPT`` more solves: these may start
        from what they hold.
        """
        ...


def vectors_of(tableau: RosenbrockTableau) -> int:
    """The stages and images that a step keeps in its Workspace."""
    return len(tableau.a) + 1 + KEPT


class RosenbrockKrylov:
    """Attempts steps of a RosenbrockTableau, with linear systems solved by whoever provides the Linearisation.

    What a Trial holds is valid until the next step in the same workspace, and its ``end`` while steps start there.
    """

    def __init__(self, tableau: RosenbrockTableau, dtype: torch.dtype, device: torch.device, work: Workspace) -> None:
        def tensor(values: object) -> Tensor:
            return torch.tensor(values, dtype=dtype, device=device)

        self.order = tableau.order
        self.evaluations_per_step = len(tableau.a) + 1
        self._vectors = vectors_of(tableau)
        self._gamma = tableau.gamma
        self._a = [tensor(row) for row in tableau.a]
        self._c = [tensor(row) for row in tableau.c]
        self._dense = tensor(tableau.dense)
        self._middle = tensor([0.25, 0.125]) @ self._dense
        self._work = work

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
        h = step_size[:, None]
        shift = 1 / (self._gamma * step_size)
        linear = linearise(y)
        count = len(self._a) + 1
        vectors, scratch, end, other = self._work.vectors(self._vectors, y)
        stages, images = vectors[:count], deque((scratch, *vectors[count:]))
        # The resolvent is at most 1/σ where J has no positive eigenvalue: a residual of tol·σ is an error of tol.
        residual = tolerance * shift
        rhs = images[0].copy_(rate)
        linear.solve(shift, rhs, residual, stages[0])
        for i, (a, c) in enumerate(zip(self._a, self._c, strict=True), start=1):
            # That of this stage takes the place of the oldest.
            images.rotate(1)
            rhs = images[0]
            combine(a, stages[:i], end).add_(y)
            rate_function(end, rhs)
            rhs.addcdiv_(combine(c, stages[:i], other), h)
            linear.solve(shift, rhs, residual, stages[i])
        error = stages[-1]
        end.add_(error)
        monitor = rate_function(end, rhs)
        middle = combine(self._middle, stages, other).add_(y, alpha=0.5).add_(end, alpha=0.5)
        return Trial(y, middle, end, rhs, monitor, error, step_size, stages, linear.stiffness, linear.solves)

    def interpolate(self, trial: Trial, theta: Float[Tensor, " S"], rows: Int[Tensor, " S"]) -> Float[Tensor, "S D"]:
        """The states at fractions of the steps of some replicas, by the interpolant."""
        bend = torch.stack([(1 - theta) * theta, (1 - theta) * theta * theta], 1) @ self._dense
        bent = weighted_sums(bend, trial.stages, rows)
        bent.addcmul_(take(trial.start, rows), 1 - theta[:, None])
        return bent.addcmul_(take(trial.end, rows), theta[:, None])
