"""The grid of numbers on which features in bfloat16 and float16 lie, and how far they spread over it."""

import dataclasses

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ulpm.metrics.tiles import Membership

# Sign and mantissa cleared, what is left of a float64 is the power of two below it.
_EXPONENT = 0x7FF0000000000000


@dataclasses.dataclass
class Grid:
    """Sums over the samples of each class, of each entry of their features.

    ``squares`` Σ_i e_ia² [K, d], e about the references of the moments, and ``powers`` Σ_i u_ia² [K, d] with the power
    of two u ≤ |h| < 2u, or 0 for h = 0: the numbers of a format of machine epsilon ε are εu apart there.
    """

    squares: Float[Tensor, "K d"]
    powers: Float[Tensor, "K d"]

    @classmethod
    def like(cls, sums: Float[Tensor, "K d"]) -> "Grid":
        """Of no samples."""
        return cls(torch.zeros_like(sums), torch.zeros_like(sums))

    def add(
        self,
        h: Float[Tensor, "B d"],
        shifted: Float[Tensor, "B d"],
        membership: Membership,
        classes: slice | Int[Tensor, " k"] = slice(None),
    ) -> None:
        """Add float64 samples h, ``shifted`` by their references, whose ``membership`` counts these classes."""
        powers = (h.resolve_neg().view(torch.int64) & _EXPONENT).view(torch.float64)
        self.squares[classes] += membership.sums(shifted.square().mT).mT
        self.powers[classes] += membership.sums(powers.square().mT).mT

    def merge(self, other: "Grid", sums: Float[Tensor, "K d"], counts: Float[Tensor, " K"], delta: Tensor) -> None:
        """Add what ``other`` holds, with these sums and counts, about references that are further by ``delta``."""
        device = self.squares.device
        self.squares += other.squares.to(device) + 2 * sums * delta + counts[:, None] * delta.square()
        self.powers += other.powers.to(device)
