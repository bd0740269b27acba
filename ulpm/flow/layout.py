"""How the numbers of a flow lie in flat vectors y = (W, b, H), on one process or many."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.linalg import vecdot, vector_norm

from ulpm.distributed import ALONE, Shard
from ulpm.flow.vectors import Vectors
from ulpm.problem import Problem
from ulpm.state import Factors, State

__all__ = ["Layout"]


class Layout(Vectors):
    """Vectors y [B, Kd (+ K) + dN] of the states of a Problem.

    With a ``shard`` the vectors of this process hold W, b and the columns of H that are its own. Steps with them then
    take messages, and give the numbers that all processes share the same bits on each. ``numbers`` is the length of
    the whole, by which processes take the same decisions.
    """

    def __init__(self, problem: Problem, shard: Shard = ALONE) -> None:
        self.shard = shard
        # What all processes hold must be the same on each, however many columns it has beside that.
        self.alone = shard.count == 1
        self._shape = problem.num_classes, problem.feature_dim
        self._samples = problem.num_samples
        K, d = self._shape
        self._sizes = (K * d, *([K] if problem.bias else []))
        self._shared = sum(self._sizes)
        self.numbers = self._shared + d * self._samples

    def pack(self, at: State | Factors) -> Float[Tensor, "B D"]:
        """The vectors of a state with at most one replica axis and all columns of H, those of this process."""
        y = Factors(at.W, at.H[..., self.shard.part(self._samples)], at.b).vector()
        return y if y.ndim == 2 else y[None]

    def unpack(self, y: Float[Tensor, "*batch D"]) -> Factors:
        """Views W [..., K, d], H [..., d, n] and b [..., K] of vectors, with as many columns as they have."""
        K, d = self._shape
        columns = y.shape[-1] - self._shared
        W, *b, H = y.split_with_sizes((*self._sizes, columns), -1)
        batch = y.shape[:-1]
        return Factors(W.view(*batch, K, d), H.view(*batch, d, columns // d), b[0] if b else None)

    def whole(self, y: Float[Tensor, "B D"]) -> Float[Tensor, "B all"]:
        """Vectors with all columns of H, from those of each process."""
        if self.shard.count == 1:
            return y
        at = self.unpack(y)
        return at._replace(H=self.shard.join(at.H, self._samples)).vector()

    def own(self, y: Float[Tensor, "B all"]) -> Float[Tensor, "B D"]:
        """The vectors of this process, from those with all columns of H."""
        return y if self.shard.count == 1 else self.pack(self.unpack(y))

    def dots(self, *pairs: tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]]) -> tuple[Float[Tensor, " B"], ...]:
        """⟨a, b⟩ of each pair, by one message."""
        if self.shard.count == 1:
            return super().dots(*pairs)
        p = self._shared
        own = self.shard.all_reduce(torch.stack([vecdot(a[:, p:], b[:, p:]) for a, b in pairs]))
        return tuple(vecdot(a[:, :p], b[:, :p]) + part for (a, b), part in zip(pairs, own, strict=True))

    def norms(self, *vectors: Float[Tensor, "B D"]) -> tuple[Float[Tensor, " B"], ...]:
        """‖a‖ of each, by one message."""
        if self.shard.count == 1:
            return super().norms(*vectors)
        p = self._shared
        own = torch.stack([vector_norm(vector[:, p:], dim=1) for vector in vectors])
        shared = torch.stack([vector_norm(vector[:, :p], dim=1) for vector in vectors])
        parts = torch.cat([shared[None], self.shard.all_gather(own)])
        return tuple(vector_norm(parts, dim=0))
