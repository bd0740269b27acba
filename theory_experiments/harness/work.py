"""The means of a simulation: progress, the processes of torchrun if there are any, and runs that are made once."""

import dataclasses
from collections.abc import Callable, Hashable
from typing import Any

from jaxtyping import Shaped
from torch import Tensor

import ulpm
from ulpm.distributed import ALONE, Shard

__all__ = ["Work"]


@dataclasses.dataclass(frozen=True)
class Work:
    """``tell`` reports progress.

    All processes of the ``shard`` do the same work, except for replicas. Each process computes a share of the replicas,
    and then all processes combine their results. So the results do not depend on the number of processes.

    A run with the same problem, start and settings is made once. Many negative controls change only what is claimed, so
    they share runs with each other and with the experiment.
    """

    tell: Callable[[str], None]
    shard: Shard = ALONE
    _made: dict[Hashable, ulpm.Trajectory] = dataclasses.field(default_factory=dict, repr=False)

    def alone(self) -> "Work":
        """The same with all the work in this process, and with the runs that are already made.

        Runs that it makes are its own: other processes lack them, and would wait for this one to join in.
        """
        return dataclasses.replace(self, shard=ALONE, _made=dict(self._made))

    def flow(self, problem: ulpm.Problem, start: ulpm.State, **settings: Any) -> ulpm.Trajectory:
        """``ulpm.gradient_flow``, where each process computes its share of the replicas."""
        return self._once(ulpm.gradient_flow, problem, start, settings, shard=self._for(start.batch_shape.numel()))

    def descent(self, problem: ulpm.Problem, start: ulpm.State, **settings: Any) -> ulpm.Trajectory:
        """``ulpm.gradient_descent``, of which each process computes all replicas."""
        return self._once(ulpm.gradient_descent, problem, start, settings)

    def replicas(
        self, of: Callable[..., tuple[Tensor, ...]], *starts: Shaped[Tensor, "B ..."]
    ) -> tuple[Shaped[Tensor, "B ..."], ...]:
        """The results of ``of`` for all replicas, along the first axis; each process computes its share."""
        total = len(starts[0])
        shard = self._for(total)
        made = of(*(start[shard.part(total)] for start in starts))
        return tuple(shard.join(part.to(shard.device), total, axis=0).to(part.device) for part in made)

    def _once(
        self,
        of: Callable[..., ulpm.Trajectory],
        problem: ulpm.Problem,
        start: ulpm.State,
        settings: dict[str, Any],
        **means: Any,
    ) -> ulpm.Trajectory:
        vector = start.vector()
        numbers = (vector.dtype, vector.device, tuple(vector.shape), vector.cpu().numpy().tobytes())
        key = (of, problem, numbers, tuple(sorted(settings.items())))
        if key not in self._made:
            self._made[key] = of(problem, start, **settings, **means)
        return self._made[key]

    def _for(self, replicas: int) -> Shard:
        """The processes, if there are enough replicas for them; else each process computes all of them."""
        return self.shard if replicas >= self.shard.count else ALONE
