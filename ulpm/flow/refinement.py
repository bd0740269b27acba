"""Iterative refinement: linear systems solved in low precision, and corrected by their residuals in full precision."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ulpm.flow.krylov import ConjugateGradients, KnownImage, KrylovSolution, start_from
from ulpm.flow.vectors import Vectors

__all__ = ["Refinement"]

_MOST_CORRECTIONS = 30
# A correction leaves this share of the residual, well above what rounding in float32 leaves.
_SHARE = 1e-3


class Refinement:
    """Conjugate gradients with products in ``dtype``, each correction of which takes one product in full precision.

    It pays where a product in ``dtype`` is much cheaper: a float32 one on most GPUs takes 1/32 to 1/64 of the time.
    Source: Higham, "Accuracy and Stability of Numerical Algorithms", 2002, chapter 12.
    """

    def __init__(self, dtype: torch.dtype, layout: Vectors) -> None:
        self.dtype = dtype
        self._layout = layout
        self._low = ConjugateGradients(layout)

    def solve(
        self,
        product: Callable[[Tensor, Tensor], None],
        low_product: Callable[[Tensor, Tensor], None],
        shift: Float[Tensor, " B"],
        rhs: Float[Tensor, "B D"],
        tolerance: Float[Tensor, " B"],
        x: Float[Tensor, "B D"],
        known: Sequence[KnownImage] = (),
    ) -> KrylovSolution:
        """As :meth:`ConjugateGradients.solve`, with J of ``low_product`` for all but the residuals.

        The iterations that are counted are products of both kinds.
        """
        residual, squared, goal = start_from(self._layout, rhs, tolerance, x, known)
        low_shift = shift.to(self.dtype)
        iterations = torch.zeros_like(shift, dtype=torch.int64)
        stiffness = -shift
        correction = torch.empty_like(residual, dtype=self.dtype)
        image = torch.empty_like(residual)
        for _ in range(_MOST_CORRECTIONS):
            going = squared > goal
            if not bool(going.any()):
                break
            # Of length 1, as no size of a residual is too small for float64; 0 where nothing is left to do.
            length = squared.sqrt()
            scaled = (residual * torch.where(going, 1 / length, 0.0)[:, None]).to(self.dtype)
            share = torch.clamp(0.5 * goal.sqrt() / length, min=_SHARE).to(self.dtype)
            found = self._low.solve(low_product, low_shift, scaled, share, correction)
            wide = torch.where(found.converged[:, None], correction, torch.nan).to(residual).mul_(length[:, None])
            wide.masked_fill_(~going[:, None], 0.0)
            x.add_(wide)
            product(wide, image)
            residual.add_(image).addcmul_(wide, shift[:, None], value=-1)
            squared = torch.where(going, self._layout.norms(residual)[0].square(), squared)
            iterations += torch.where(going, found.iterations + 1, 0)
            stiffness = torch.maximum(stiffness, torch.where(going, found.stiffness.to(shift), stiffness))
        rhs.sub_(residual)
        return KrylovSolution(iterations, squared <= goal, stiffness, squared > goal)
