"""What a simulation is given to work with: a voice, and the processes that torchrun started, if it did."""

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
    """``tell`` says what is being done.

    All processes of the ``shard`` do the same, but replicas, of which each takes a share before all put together what
    they found: so nothing that is found depends on how many they are.
    """

    tell: Callable[[str], None]
    shard: Shard = ALONE

    def flow(self, problem: ulpm.Problem, start: ulpm.State, **settings: Any) -> ulpm.Trajectory:
        """``ulpm.gradient_flow``, each process following its share of the replicas."""
        return ulpm.gradient_flow(problem, start, **settings, shard=self._for(start.batch_shape.numel()))

    def replicas(
        self, of: Callable[..., tuple[Tensor, ...]], *starts: Shaped[Tensor, "B ..."]
    ) -> tuple[Shaped[Tensor, "B ..."], ...]:
        """What ``of`` makes of each replica, along the first axis, each process of its share."""
        total = len(starts[0])
        shard = self._for(total)
        made = of(*(start[shard.part(total)] for start in starts))
        return tuple(shard.join(part.to(shard.device), total, axis=0).to(part.device) for part in made)

    def _for(self, replicas: int) -> Shard:
        """The processes, if there are enough replicas for them; what is small each does on its own."""
        return self.shard if replicas >= self.shard.count else ALONE
