"""The smallest eigenvalue of a symmetric operator that is known by its products, on a hyperplane."""

import dataclasses
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["Eigenpair", "smallest_eigenpair"]

_BASIS = 48  # vectors at most
_KEPT = 16  # of them, through a restart


@dataclasses.dataclass(frozen=True, eq=False)
class Eigenpair:
    """A unit ``vector`` with vᵀAv = ``value`` ≥ λ_min; an eigenvalue of A lies within ``error`` of the value."""

    value: float
    vector: Float[Tensor, " D"]
    error: float


def smallest_eigenpair(
    product: Callable[[Float[Tensor, " D"]], Float[Tensor, " D"]],
    normal: Float[Tensor, " D"],
    start: Float[Tensor, " D"],
    tolerance: float,
    max_products: int,
) -> Eigenpair:
    """The smallest eigenvalue of ΠAΠ, Π the projection along the unit vector ``normal``, on the image of Π, D > 1.

    ``product(v)`` is A v. Ends when the residual ‖ΠAv − λv‖ is at most ``tolerance`` or rounding, or after about
    ``max_products``; the error says which, and the value is an upper bound of the eigenvalue in any case. Eigenvectors
    orthogonal to ``start`` would not be seen: a random one has none.

    Source: Wu and Simon, "Thick-restart Lanczos method for large symmetric eigenvalue problems", 2000. Each vector is
    orthogonalised twice against all others, which costs less than a product and leaves no eigenvalue twice.
    """
    size = min(_BASIS, len(start) - 1)
    epsilon = torch.finfo(start.dtype).eps
    basis = start.new_zeros(size + 1, len(start))
    matrix = start.new_zeros(size, size)  # of A on the basis
    basis[0] = start - normal * (normal @ start)
    basis[0] /= torch.linalg.vector_norm(basis[0])
    first = products = 0
    while True:
        for j in range(first, size):
            image = product(basis[j])
            products += 1
            for _ in range(2):
                image = image - normal * (normal @ image)
                components = basis[: j + 1] @ image
                image = image - components @ basis[: j + 1]
                matrix[: j + 1, j] += components
            matrix[j, :j] = matrix[:j, j]
            rounding = 16 * epsilon * float(matrix[: j + 1, : j + 1].abs().max())
            length = float(torch.linalg.vector_norm(image))
            if length <= rounding:
                break
            basis[j + 1] = image / length
        used = j + 1
        values, vectors = torch.linalg.eigh(matrix[:used, :used])
        residual = length * abs(float(vectors[-1, 0]))
        if length <= rounding or residual <= max(tolerance, rounding) or products >= max_products:
            return Eigenpair(float(values[0]), vectors[:, 0] @ basis[:used], max(residual, rounding))
        first = min(_KEPT, used - 1)
        basis[:first] = vectors[:, :first].T @ basis[:used]
        basis[first] = basis[used]
        matrix.zero_()
        matrix[range(first), range(first)] = values[:first]
