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

        ``product(v, out)`` writes J v into ``out``, and ``rhs`` becomes (σI − J)x, from which later solves can start:
        ``known`` has one or two systems with the same matrix that were solved before, as pairs of x_j and (σI − J)x_j,
        and the first x is the combination of the x_j whose image is closest to b.

        A replica that meets a direction of no positive curvature (σ below an eigenvalue of J), or runs out of
        iterations, is not converged. The stiffness is the largest diagonal entry of the Lanczos matrix that the
        coefficients of the iteration define, less σ. Source: Hestenes and Stiefel, 1952; Lanczos matrix: Saad,
        "Iterative Methods for Sparse Linear Systems", 2003, section 6.7.
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
    ) -> tuple[Float[Tensor, " B"], ...]:
        """The α_j with the least ‖b − Σ α_j b_j‖ of one or two known images b_j; 0 where their rounding would be seen.

        With p_j = ⟨b_j, b⟩/‖b_j‖, c the cosine of b_1 and b_2, and shares ‖b_j‖ α_j of the length: the second share is
        (p_2 − c p_1)/(1 − c²), and the first, p_1 less c times that, makes up for its rounding.
        """
        numbers = torch.finfo(rhs.dtype)
        images = [image for _, image in known]
        pairs = [(image, other) for image in images for other in (image, rhs)]
        squared, along, *more = self._inner.dots(*pairs, *([(images[0], images[1])] if len(images) > 1 else []))
        size = squared.clamp(min=numbers.tiny).sqrt()
        if not more:
            share = along / size
            return (torch.where(16 * numbers.eps * share.abs() <= tolerance, share / size, 0.0),)
        other_squared, other_along, product = more
        other_size = other_squared.clamp(min=numbers.tiny).sqrt()
        p, q, cosine = along / size, other_along / other_size, product / (size * other_size)
        # The images may be parallel.
        other_share = (q - cosine * p) / (1 + 8 * numbers.eps - cosine.square())
        share = p - cosine * other_share
        harmless = 16 * numbers.eps * (share.abs() + other_share.abs()) <= tolerance
        return torch.where(harmless, share / size, 0.0), torch.where(harmless, other_share / other_size, 0.0)
