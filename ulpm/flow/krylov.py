"""Conjugate gradients for (σI − J) x = b with a symmetric J that is known by its products, a system a replica."""

import dataclasses
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ulpm.flow.inner_product import InnerProduct

__all__ = ["ConjugateGradients", "KnownImage", "KrylovSolution"]

KnownImage = tuple[Tensor, Tensor]
"""A vector x [B, D] and (σI − J)x."""

_MOST_ITERATIONS = 500
# On an accelerator it is cheaper to iterate in vain, which changes nothing, than to ask at every iteration.
_ITERATIONS_BETWEEN_QUESTIONS = {"cpu": 1}


@dataclasses.dataclass(frozen=True)
class KrylovSolution:
    """The iterations of each replica, whether it converged, and a lower bound of the largest eigenvalue of −J."""

    iterations: Int[Tensor, " B"]
    converged: Bool[Tensor, " B"]
    stiffness: Float[Tensor, " B"]


class ConjugateGradients:
    """Solves systems of one shape after another in the same working memory of three vectors."""

    def __init__(self, inner: InnerProduct | None = None) -> None:
        self._inner = inner or InnerProduct()
        self._work: Tensor | None = None

    def solve(
        self,
        product: Callable[[Tensor, Tensor], None],
        shift: Float[Tensor, " B"],
        rhs: Float[Tensor, "B D"],
        tolerance: Float[Tensor, " B"],
        x: Float[Tensor, "B D"],
        known: Sequence[KnownImage] = (),
    ) -> KrylovSolution:
        """Solve (σI − J) x = b until ‖b − (σI − J)x‖ ≤ ``tolerance``, or 64 ε‖b‖, and write it into ``x``.

        ``product(v, out)`` writes J v into ``out``, and ``rhs`` becomes (σI − J)x, for its error is known. Systems with
        the same matrix that were solved before, as pairs of x_j and (σI − J)x_j, save iterations: the first x is the
        sum of the x_j whose image is closest to b. A replica that meets a direction of no positive curvature (σ below
        an eigenvalue of J), or runs out of iterations, is not converged. The stiffness is the largest diagonal entry of
        the Lanczos matrix that the coefficients of the iteration define, less σ. Source: Hestenes and Stiefel, 1952;
        Lanczos matrix: Saad, "Iterative Methods for Sparse Linear Systems", 2003, section 6.7.
        """
        if self._work is None or self._work.shape[1:] != rhs.shape or self._work.dtype != rhs.dtype:
            self._work = rhs.new_empty(3, *rhs.shape)
        residual, direction, image = self._work
        residual.copy_(rhs)
        x.zero_()
        squared = self._inner.norms(residual)[0].square()
        goal = torch.maximum(tolerance.square(), squared * (64 * torch.finfo(rhs.dtype).eps) ** 2)
        positive = torch.isfinite(squared)
        if known:
            for (solution, its_image), weight in zip(known, self._weights(rhs, known, goal.sqrt()), strict=True):
                x.addcmul_(solution, weight[:, None])
                residual.addcmul_(its_image, -weight[:, None])
            squared = self._inner.norms(residual)[0].square()
        direction.copy_(residual)
        iterations = torch.zeros_like(shift, dtype=torch.int64)
        largest, carried = torch.zeros_like(shift), torch.zeros_like(shift)
        every = _ITERATIONS_BETWEEN_QUESTIONS.get(rhs.device.type, 8)
        for i in range(_MOST_ITERATIONS):
            going = positive & (squared > goal)
            if i % every == 0 and not bool(going.any()):
                break
            product(direction, image)
            image.neg_().addcmul_(direction, shift[:, None])
            curvature = self._inner.dot(direction, image)
            positive &= ~going | (curvature > 0)
            going &= positive
            iterations += going
            step = torch.where(going, squared / curvature, 0.0)
            x.addcmul_(direction, step[:, None])
            residual.addcmul_(image, -step[:, None])
            before, squared = squared, torch.where(going, self._inner.norms(residual)[0].square(), squared)
            inverse = torch.where(going, curvature / before, 0.0)
            largest = torch.where(going, torch.maximum(largest, inverse + carried), largest)
            ratio = torch.where(going, squared / before, 0.0)
            carried = ratio * inverse
            direction.mul_(ratio[:, None]).add_(residual)
        rhs.sub_(residual)
        return KrylovSolution(iterations, positive & (squared <= goal), largest - shift)

    def _weights(
        self, rhs: Float[Tensor, "B D"], known: Sequence[KnownImage], tolerance: Float[Tensor, " B"]
    ) -> Float[Tensor, "j B"]:
        """The α_j with the least ‖b − Σ α_j b_j‖, b_j the known images; 0 where their rounding would be seen."""
        vectors = [image for _, image in known] + [rhs]
        pairs = [(i, j) for j in range(len(vectors)) for i in range(j + 1) if i < len(known)]
        products = self._inner.dots(*((vectors[i], vectors[j]) for i, j in pairs))
        gram = rhs.new_zeros(len(rhs), len(known), len(vectors))
        for (i, j), value in zip(pairs, products, strict=True):
            gram[:, i, j] = value
            if j < len(known):
                gram[:, j, i] = value
        numbers = torch.finfo(rhs.dtype)
        sizes = gram.diagonal(dim1=1, dim2=2).clamp(min=numbers.tiny).sqrt()
        matrix = gram[..., :-1] / (sizes[:, :, None] * sizes[:, None, :])
        # Images may be parallel.
        matrix.diagonal(dim1=1, dim2=2).add_(4 * numbers.eps)
        shares = torch.linalg.solve_ex(matrix, gram[..., -1] / sizes).result
        harmless = 16 * numbers.eps * shares.abs().sum(1, keepdim=True) <= tolerance[:, None]
        return torch.where(harmless, shares / sizes, 0.0).mT
