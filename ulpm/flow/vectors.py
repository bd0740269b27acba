"""Arithmetic of flat vectors [B, D], a row a replica: the sums that steps and linear solves are made of."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.linalg import vecdot, vector_norm

__all__ = ["PLAIN", "Vectors", "combine", "single", "take", "weighted_sums"]

_LARGE = 2**17


class Vectors:
    """Vectors that lie as a whole on one process: what a method may ask of them beside entrywise operations."""

    alone: bool = True
    """Whether no other process holds a part of these vectors."""

    def dot(self, a: Float[Tensor, "B D"], b: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """⟨a, b⟩ = Σ_i a_i b_i."""
        return self.dots((a, b))[0]

    def dots(self, *pairs: tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]]) -> tuple[Float[Tensor, " B"], ...]:
        """⟨a, b⟩ of each pair."""
        # Of a single row without a vector of products, which would cost as much as the sum of a large one.
        return tuple(torch.dot(a[0], b[0])[None] if len(a) == 1 else vecdot(a, b) for a, b in pairs)

    def norms(self, *vectors: Float[Tensor, "B D"]) -> tuple[Float[Tensor, " B"], ...]:
        """‖a‖ of each."""
        return tuple(vector_norm(vector, dim=1) for vector in vectors)

    def advance(
        self,
        y: Float[Tensor, "B D"],
        h: Float[Tensor, "B 1"],
        weights: Float[Tensor, " i"],
        stages: Float[Tensor, "i B D"],
        out: Float[Tensor, "B D"],
    ) -> Float[Tensor, "B D"]:
        """y + h Σ_i weights_i stages_i, written into ``out``."""
        if not self.alone or y.shape[0] > 1 or y.numel() < _LARGE:
            return torch.addcmul(y, h, combine(weights, stages, out), out=out)
        # Two passes less over vectors that no cache holds.
        torch.addmv(y.view(-1), stages.flatten(1).T, weights * h[0], out=out.view(-1))
        return out


PLAIN = Vectors()


def combine(
    weights: Float[Tensor, " i"], stages: Float[Tensor, "i B D"], out: Float[Tensor, "B D"]
) -> Float[Tensor, "B D"]:
    """Σ_i weights_i stages_i, written into ``out``."""
    torch.mv(stages.flatten(1).T, weights, out=out.view(-1))
    return out


def single(vectors: Float[Tensor, "B D"]) -> Float[Tensor, "*B D"]:
    """Vectors themselves, but a single one without its axis: a product of matrices takes less than a batch of one."""
    return vectors[0] if len(vectors) == 1 else vectors


def take(vectors: Float[Tensor, "B D"], rows: Int[Tensor, " S"]) -> Float[Tensor, "#S D"]:
    """Copies of some rows, but a single one itself, which may be large."""
    return vectors if len(vectors) == 1 else vectors.index_select(0, rows)


def weighted_sums(
    weights: Float[Tensor, "S s"], stages: Float[Tensor, "s B D"], rows: Int[Tensor, " S"]
) -> Float[Tensor, "S D"]:
    """Σ_i weights_ki stages_ib of each k with b = rows_k."""
    if stages.shape[1] == 1:
        return weights @ stages[:, 0]
    sums = weights.new_zeros(len(weights), stages.shape[2])
    # Not einsum, which wants a copy of all stages.
    for weight, stage in zip(weights.unbind(1), stages, strict=True):
        sums.addcmul_(stage.index_select(0, rows), weight[:, None])
    return sums
