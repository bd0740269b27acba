"""Newton's method where the symmetric Jacobian is singular, as it is wherever factors may rotate.

Each step is the least-squares one of smallest norm.
"""

from collections.abc import Callable

import numpy as np

__all__ = ["Parts", "newton"]

_ROUNDING = 4 * np.finfo(float).eps
# A Newton step doubles the digits, so that more than these few of it are not needed at once.
_INNER_TOLERANCE = 1e-6
_INNER_STEPS = 10_000

Parts = tuple[np.ndarray, ...]  # a vector in parts, such as those that go with two factors and with multipliers
Jacobian = Callable[[], Callable[[Parts], Parts]]


def newton(start: Parts, equations: Callable[[Parts], tuple[Parts, Parts, Jacobian]], most: int) -> Parts:
    """The zero next to ``start``, to rounding, after ``most`` steps at most; where they fail, the best iterate.

    ``equations`` gives the point that replaces its argument, the residual there, and what makes the Jacobian.
    """
    point = best = start
    smallest, stalls = np.inf, 0
    with np.errstate(all="ignore"):  # a step that leads nowhere may overflow
        for _ in range(most):
            point, residual, jacobian = equations(point)
            size = np.divide(norm(residual), norm(point))
            stalls += not size < smallest / 2
            if size < smallest:
                best, smallest = point, size
            if smallest < _ROUNDING or stalls == 2 or not np.isfinite(size):
                break
            point = combine(1.0, point, least_squares(jacobian(), residual), 1.0)
    return best


def least_squares(operator: Callable[[Parts], Parts], target: Parts) -> Parts:
    """The x of smallest norm that minimises ‖J x − target‖ for symmetric J, by conjugate gradients on J² x = J target.

    Hestenes and Stiefel, "Methods of conjugate gradients for solving linear systems", 1952.
    """
    x = combine(0.0, target, target, 0.0)
    residual = target
    direction = gradient = operator(residual)
    squared = first = _dot(gradient, gradient)
    for _ in range(_INNER_STEPS):
        if not squared > _INNER_TOLERANCE**2 * first:
            break
        image = operator(direction)
        length = squared / _dot(image, image)
        x = combine(1.0, x, direction, length)
        residual = combine(1.0, residual, image, -length)
        gradient = operator(residual)
        before, squared = squared, _dot(gradient, gradient)
        direction = combine(1.0, gradient, direction, squared / before)
    return x


def combine(a: float, u: Parts, v: Parts, b: float) -> Parts:
    """a u + b v."""
    return tuple(a * one + b * other for one, other in zip(u, v, strict=True))


def norm(u: Parts) -> float:
    """The Euclidean norm of all parts together."""
    return float(np.sqrt(_dot(u, u)))


def _dot(u: Parts, v: Parts) -> float:
    return float(sum(np.vdot(a, b) for a, b in zip(u, v, strict=True)))
