"""Conjugate gradients for (σI − J) x = b with a symmetric J that is known by its products, a system a replica."""

import dataclasses
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

__all__ = ["KrylovSolution", "conjugate_gradients"]

_MOST_ITERATIONS = 500


@dataclasses.dataclass(frozen=True)
class KrylovSolution:
    """x, the iterations of each replica, whether it converged, and a lower bound of the largest eigenvalue of −J."""

    x: Float[Tensor, "B D"]
    iterations: Int[Tensor, " B"]
    converged: Bool[Tensor, " B"]
    stiffness: Float[Tensor, " B"]


def conjugate_gradients(
    product: Callable[[Tensor], Tensor],
    shift: Float[Tensor, " B"],
    rhs: Float[Tensor, "B D"],
    tolerance: Float[Tensor, " B"],
) -> KrylovSolution:
    """Solve (σI − J) x = b from x = 0 until ‖b − (σI − J)x‖ ≤ ``tolerance``, or 64 ε‖b‖.

    ``product`` gives J v. A replica that meets a direction of no positive curvature (σ below an eigenvalue of J), or
    runs out of iterations, is not converged. The stiffness is the largest diagonal entry of the Lanczos matrix that
    the coefficients of the iteration define, less σ. Source: Hestenes and Stiefel, 1952; Lanczos matrix: Saad,
    "Iterative Methods for Sparse Linear Systems", 2003, section 6.7.
    """
    x = torch.zeros_like(rhs)
    residual, direction = rhs.clone(), rhs.clone()
    squared = _dot(residual, residual)
    goal = torch.maximum(tolerance.square(), squared * (64 * torch.finfo(rhs.dtype).eps) ** 2)
    positive = torch.isfinite(squared)
    iterations = torch.zeros_like(shift, dtype=torch.int64)
    largest, carried = torch.zeros_like(shift), torch.zeros_like(shift)
    for _ in range(_MOST_ITERATIONS):
        going = positive & (squared > goal)
        if not bool(going.any()):
            break
        image = product(direction).neg_().addcmul_(direction, shift[:, None])
        curvature = _dot(direction, image)
        positive &= ~going | (curvature > 0)
        going &= positive
        iterations += going
        step = torch.where(going, squared / curvature, 0.0)
        x.addcmul_(direction, step[:, None])
        residual.addcmul_(image, -step[:, None])
        before, squared = squared, torch.where(going, _dot(residual, residual), squared)
        inverse = torch.where(going, curvature / before, 0.0)
        largest = torch.maximum(largest, inverse + carried)
        ratio = torch.where(going, squared / before, 0.0)
        carried = ratio * inverse
        direction.mul_(ratio[:, None]).add_(residual)
    return KrylovSolution(x, iterations, positive & (squared <= goal), largest - shift)


def _dot(a: Float[Tensor, "B D"], b: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
    product: Tensor = a[:, None, :] @ b[:, :, None]
    return product[:, 0, 0]
