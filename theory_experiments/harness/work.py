"""The means of a simulation: a callback for progress, and the processes of torchrun, if there are any."""

import dataclasses
from collections.abc import Callable
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
    """

    tell: Callable[[str], None]
    shard: Shard = ALONE

    def flow(self, problem: ulpm.Problem, start: ulpm.State, **settings: Any) -> ulpm.Trajectory:
        """``ulpm.gradient_flow``, where each process computes its share of the replicas."""
        return ulpm.gradient_flow(problem, start, **settings, shard=self._for(start.batch_shape.numel()))

    def replicas(
        self, of: Callable[..., tuple[Tensor, ...]], *starts: Shaped[Tensor, "B ..."]
    ) -> tuple[Shaped[Tensor, "B ..."], ...]:
        """The results of ``of`` for all replicas, along the first axis; each process computes its share."""
        total = len(starts[0])
        shard = self._for(total)
        made = of(*(start[shard.part(total)] for start in starts))
        return tuple(shard.join(part.to(shard.device), total, axis=0).to(part.device) for part in made)

    def _for(self, replicas: int) -> Shard:
        """The processes, if there are enough replicas for them; else each process computes all of them."""
        return self.shard if replicas >= self.shard.count else ALONE
