"""Conjugate gradients for (σI − J) x = b with a symmetric J that is known by its products, a system a replica."""

import dataclasses
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ulpm.flow.vectors import PLAIN, Vectors

__all__ = ["KEPT", "ConjugateGradients", "KnownImage", "KrylovSolution", "Solves", "start_from"]

KnownImage = tuple[Tensor, Tensor]
"""A vector x [B, D] and (σI − J)x."""

# So many systems before one with the same matrix give it a start. More save hardly any products more.
KEPT = 2

_MOST_ITERATIONS = 500
# On an accelerator it is cheaper to iterate in vain, which changes nothing, than to ask at every iteration.
_ITERATIONS_BETWEEN_QUESTIONS = {"cpu": 1}


@dataclasses.dataclass(frozen=True)
class KrylovSolution:
    """The iterations of each replica, whether it converged, and a lower bound of the largest eigenvalue of −J.

    ``exhausted`` says that it did not for lack of iterations.
    """

    iterations: Int[Tensor, " B"]
    converged: Bool[Tensor, " B"]
    stiffness: Float[Tensor, " B"]
    exhausted: Bool[Tensor, " B"]


@dataclasses.dataclass(frozen=True)
class Solves:
    """The iterations of each of several solves with one J, and whether one of them was exhausted."""

    iterations: tuple[Int[Tensor, " B"], ...]
    exhausted: Bool[Tensor, " B"]

    @classmethod
    def none(cls, like: Float[Tensor, " B"]) -> "Solves":
        """No solve yet."""
        return cls((), torch.zeros_like(like, dtype=torch.bool))

    def after(self, solution: KrylovSolution) -> "Solves":
        """With one more."""
        return Solves((*self.iterations, solution.iterations), self.exhausted | solution.exhausted)


class ConjugateGradients:
    """Solves systems of one shape after another in the same working memory of three vectors."""

    def __init__(self, layout: Vectors = PLAIN) -> None:
        self._layout = layout
        self._work: Tensor | None = None

    def solve(
        self,
        product: Callable[[Tensor, Tensor], None],
        shift: Float[Tensor, " B"],
        rhs: Float[Tensor, "B D"],
        tolerance: Float[Tensor, " B"],
        x: Float[Tensor, "B D"],
        known: Sequence[KnownImage] = (),
        unasked: int | None = None,
    ) -> KrylovSolution:
        """Solve (σI − J) x = b until ‖b − (σI − J)x‖ ≤ ``tolerance``, or 64 ε‖b‖, and write it into ``x``.

        ``product(v, out)`` writes J v into ``out``, and ``rhs`` becomes (σI − J)x, from which later solves can start:
        ``known`` has one or two systems with the same matrix that were solved before, as pairs of x_j and (σI − J)x_j,
        and the first x is the combination of the x_j whose image is closest to b.

        A replica that meets a direction of no positive curvature (σ below an eigenvalue of J) is not converged, and its
        x is nan; nor is one that runs out of iterations. These are as many as needed, for which a device is asked again
        and again, or just ``unasked``, of which those after convergence change nothing. The stiffness is the largest
        diagonal entry of the Lanczos matrix that the coefficients of the iteration define, less σ. Source: Hestenes and
        Stiefel, 1952; Lanczos matrix: Saad, "Iterative Methods for Sparse Linear Systems", 2003, section 6.7.
        """
        if self._work is None or self._work.shape[1:] != rhs.shape or self._work.dtype != rhs.dtype:
            self._work = rhs.new_empty(3, *rhs.shape)
        residual, direction, image = self._work
        _, squared, goal = start_from(self._layout, rhs, tolerance, x, known, residual)
        direction.copy_(residual)
        lengths: list[Tensor] = []
        ratios: list[Tensor] = []
        # Tensors, since a number beside them would be made one each time.
        zero, nan = squared.new_zeros(()), squared.new_full((), torch.nan)
        every = _ITERATIONS_BETWEEN_QUESTIONS.get(rhs.device.type, 8)
        for i in range(_MOST_ITERATIONS if unasked is None else unasked):
            going = squared > goal
            if unasked is None and i % every == 0 and not bool(going.any()):
                break
            product(direction, image)
            # −A d, with which one sign does for both updates: the step is −ℓ d.
            image.addcmul_(direction, shift[:, None], value=-1)
            curvature = self._layout.dot(direction, image)
            length = torch.where(curvature < 0, squared / curvature, nan)
            length = torch.where(going, length, zero)
            x.addcmul_(direction, length[:, None], value=-1)
            residual.addcmul_(image, length[:, None], value=-1)
            left = self._layout.dot(residual, residual)
            ratio = torch.where(going, left / squared, zero)
            squared = torch.where(going, left, squared)
            lengths.append(length)
            ratios.append(ratio)
            torch.addcmul(residual, direction, ratio[:, None], out=direction)
        rhs.sub_(residual)
        iterations, stiffness = _lanczos(lengths, ratios, shift)
        return KrylovSolution(iterations, squared <= goal, stiffness, squared > goal)


def start_from(
    layout: Vectors,
    rhs: Float[Tensor, "B D"],
    tolerance: Float[Tensor, " B"],
    x: Float[Tensor, "B D"],
    known: Sequence[KnownImage],
    residual: Float[Tensor, "B D"] | None = None,
) -> tuple[Float[Tensor, "B D"], Float[Tensor, " B"], Float[Tensor, " B"]]:
    """Write the first x, what ``known`` says of it, into ``x``: the residual that it leaves, its square and its goal.

    Where ``rhs`` is not finite the square is nan, which is neither above a goal nor below it.
    """
    residual = rhs.clone() if residual is None else residual.copy_(rhs)
    x.zero_()
    squared = layout.norms(residual)[0].square()
    squared = torch.where(torch.isfinite(squared), squared, torch.nan)
    goal = torch.maximum(tolerance.square(), squared * (64 * torch.finfo(rhs.dtype).eps) ** 2)
    if known:
        for (solution, its_image), weight in zip(known, _weights(layout, rhs, known, goal.sqrt()), strict=True):
            x.addcmul_(solution, weight[:, None])
            residual.addcmul_(its_image, weight[:, None], value=-1)
        squared = layout.norms(residual)[0].square() + 0 * squared
    return residual, squared, goal


def _weights(
    layout: Vectors, rhs: Float[Tensor, "B D"], known: Sequence[KnownImage], tolerance: Float[Tensor, " B"]
) -> tuple[Float[Tensor, " B"], ...]:
    """The α_j with the least ‖b − Σ α_j b_j‖ of one or two known images b_j; 0 where their rounding would be seen.

    With p_j = ⟨b_j, b⟩/‖b_j‖, c the cosine of b_1 and b_2, and shares ‖b_j‖ α_j of the length: the second share is
    (p_2 − c p_1)/(1 − c²), and the first, p_1 less c times that, makes up for its rounding.
    """
    numbers = torch.finfo(rhs.dtype)
    images = [image for _, image in known]
    pairs = [(image, other) for image in images for other in (image, rhs)]
    squared, along, *more = layout.dots(*pairs, *([(images[0], images[1])] if len(images) > 1 else []))
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


def _lanczos(
    lengths: list[Float[Tensor, " B"]], ratios: list[Float[Tensor, " B"]], shift: Float[Tensor, " B"]
) -> tuple[Int[Tensor, " B"], Float[Tensor, " B"]]:
    """The iterations of each replica, which are those of a step that is not 0, and the largest diagonal entry of its
    Lanczos matrix, less σ: 1/α_i + β_{i−1}/α_{i−1} with the step α_i along direction i, and β_i the ``ratios``.
    """
    if not lengths:
        return torch.zeros_like(shift, dtype=torch.int64), -shift
    inverse = torch.stack(lengths).reciprocal_().neg_()
    taken = torch.isfinite(inverse)
    inverse.masked_fill_(~taken, 0.0)
    diagonal = inverse.clone()
    diagonal[1:] += torch.stack(ratios)[:-1] * inverse[:-1]
    return taken.sum(0), torch.where(taken, diagonal, 0.0).amax(0) - shift
