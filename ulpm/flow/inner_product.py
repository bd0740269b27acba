"""Inner products and norms of flat vectors y = (W, H), the one place where a step adds up whole vectors."""

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor
from torch.linalg import vecdot, vector_norm

from ulpm.distributed import ALONE, Shard

__all__ = ["InnerProduct"]


@dataclasses.dataclass(frozen=True)
class InnerProduct:
    """⟨a, b⟩ = Σ_i a_i b_i, a row a replica.

    With a ``shard`` the entries from ``split`` on are those of this process alone, and the others the same everywhere.
    """

    split: int = 0
    shard: Shard = ALONE

    def dot(self, a: Float[Tensor, "B D"], b: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """⟨a, b⟩."""
        return self.dots((a, b))[0]

    def dots(self, *pairs: tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]]) -> tuple[Float[Tensor, " B"], ...]:
        """⟨a, b⟩ of each pair, by one message."""
        if self.shard.count == 1:
            # Of a single row without a vector of products, which would cost as much as the sum of a large one.
            return tuple(torch.dot(a[0], b[0])[None] if len(a) == 1 else vecdot(a, b) for a, b in pairs)
        split = self.split
        own = self.shard.sum(torch.stack([vecdot(a[:, split:], b[:, split:]) for a, b in pairs]))
        return tuple(vecdot(a[:, :split], b[:, :split]) + part for (a, b), part in zip(pairs, own, strict=True))

    def norms(self, *vectors: Float[Tensor, "B D"]) -> tuple[Float[Tensor, " B"], ...]:
        """‖a‖ of each, by one message."""
        if self.shard.count == 1:
            return tuple(vector_norm(vector, dim=1) for vector in vectors)
        own = torch.stack([vector_norm(vector[:, self.split :], dim=1) for vector in vectors])
        shared = torch.stack([vector_norm(vector[:, : self.split], dim=1) for vector in vectors])
        parts = torch.cat([shared[None], self.shard.gather(own)])
        return tuple(vector_norm(parts, dim=0))
