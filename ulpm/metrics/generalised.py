"""Generalised neural collapse: how far class means are from a softmax code, for any number of classes."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ulpm import _checks
from ulpm.metrics.hull import distances_to_hulls
from ulpm.metrics.moments import ClassMoments
from ulpm.metrics.pairs import nearest_distances
from ulpm.metrics.simplex import of_size_one

__all__ = ["GeneralisedCollapse", "generalised_collapse"]

# Of numbers of size one, in a mean and a difference.
_ROUNDINGS = 4


class GeneralisedCollapse(NamedTuple):
    """How far apart the directions of class means (or of classifier rows) are.

    All distances are between vectors of length 1.

    Attributes:
        classes: The classes that were measured [C].
        one_vs_rest_lower: A lower bound of the distance of each direction to the convex hull of the others [C].
        one_vs_rest_upper: An upper bound of the same [C].
        one_vs_one: The distance of each direction to the nearest other [C].
        bound: What the least one-vs-rest distance of K directions in d dimensions is at most: K/(K−1) for K ≤ d + 1,
            else 1. A simplex ETF, or pairs of opposite directions, attain it for K ≤ 2d. For larger K the largest value
            is not known.

    >>> found = ulpm.generalised_collapse(torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]]))
    >>> [round(float(bound), 12) for bound in found.one_vs_rest()], found.bound
    ([1.0, 1.0], 1.0)
    """

    classes: Int[Tensor, " C"]
    one_vs_rest_lower: Float[Tensor, " C"]
    one_vs_rest_upper: Float[Tensor, " C"]
    one_vs_one: Float[Tensor, " C"]
    bound: float

    def one_vs_rest(self) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Lower and upper bound of the least one-vs-rest distance of these classes."""
        return self.one_vs_rest_lower.min(), self.one_vs_rest_upper.min()

    def duality_gap(self) -> Float[Tensor, ""]:
        """The largest difference of the two bounds of a class."""
        return (self.one_vs_rest_upper - self.one_vs_rest_lower).max()

    def closest_class(self) -> int:
        """The class whose direction is closest to the hull of the others."""
        return int(self.classes[self.one_vs_rest_upper.argmin()])


def generalised_collapse(
    vectors: ClassMoments | Float[Tensor, "K d"],
    classes: Int[Tensor, " C"] | None = None,
    centered: bool = True,
) -> GeneralisedCollapse:
    """One-vs-rest and one-vs-one distances of class means, or of the rows of a classifier.

    With directions u_k = (μ_k − μ_G)/‖μ_k − μ_G‖, or u_k = μ_k/‖μ_k‖ if not ``centered``:

        one-vs-rest     dist(u_k, conv{u_j : j ≠ k}), each between a lower and an upper bound
        one-vs-one      min over j ≠ k of ‖u_j − u_k‖

    Generalised collapse maximises the least one-vs-rest distance (a softmax code): a simplex ETF for K ≤ d + 1, and
    for more classes what the angles of an ETF do not describe. A combination c of the others with residual r = u_k − c
    proves ⟨r, u_k⟩/‖r‖ − max_j ⟨r, u_j⟩/‖r‖ ≤ dist ≤ ‖r‖, whatever the algorithm that found it (Wolfe, 1976).

    Args:
        vectors: The vectors μ_k as rows [K, d], float32 or float64, or the moments of the features. Their scale does
            not matter.
        classes: Which classes to measure [C], integers in 0 … K−1; by default all. A class takes time K·d and d³ for
            each of up to about d steps: with many classes in many dimensions choose some.
        centered: Whether directions are those from the mean μ_G of all vectors, or from 0.

    Returns:
        A GeneralisedCollapse of the classes that were chosen.

    Raises:
        TypeError: For vectors or classes of another type.
        ValueError: For vectors of another shape or not finite, a class that is not there, a vector without a direction,
            or moments with a class without samples.

    Source: Jiang, Zhou, Wang, Qu, Mixon, You & Zhu, 2024, Generalized neural collapse for a large number of classes.

    >>> found = ulpm.generalised_collapse(ulpm.simplex_etf(4, 5))
    >>> round(float(found.one_vs_rest()[0]), 12), round(found.bound, 12), bool(found.duality_gap() < 1e-12)
    (1.333333333333, 1.333333333333, True)
    """
    points = _directions(vectors, _checks.flag("centered", centered))
    K, d = points.shape
    if classes is None:
        chosen = torch.arange(K, device=points.device)
    else:
        chosen = _checks.labels("classes", classes, _checks.whole_numbers("classes", classes).numel(), K).to(
            points.device
        )
        if len(chosen) == 0:
            raise ValueError("classes must name at least one class, but it is empty: leave it out for all of them.")
    lower, upper = distances_to_hulls(points, chosen)
    bound = K / (K - 1) if d + 1 >= K else 1.0
    return GeneralisedCollapse(chosen, lower, upper, nearest_distances(points.mT)[chosen], bound)


def _directions(vectors: ClassMoments | Tensor, centered: bool) -> Float[Tensor, "K d"]:
    if isinstance(vectors, ClassMoments):
        rows = vectors.statistics().means.mT if centered else vectors.class_means()
    else:
        _checks.floating("vectors", vectors)
        if vectors.ndim != 2 or len(vectors) < 2 or vectors.shape[1] < 1:
            raise ValueError(f"vectors must have shape [K ≥ 2, d], but their shape is {list(vectors.shape)}.")
        rows = vectors.detach().double()
    rounding = torch.zeros((), dtype=rows.dtype, device=rows.device)
    if centered:
        rows = of_size_one(rows)  # differences of huge ones overflow
        rows = rows - rows[:1]
        rows = rows - rows.mean(0)
        # A vector that is the mean of all is off it by rounding, which would be a direction like any other.
        rounding = _ROUNDINGS * torch.finfo(rows.dtype).eps * rows.abs().amax()
    # Each by itself, as squares of one that is much shorter than another vanish.
    sizes = rows.abs().amax(1)
    none = torch.nonzero(sizes <= rounding).flatten().tolist()
    if none:
        about = "the mean of all" if centered else "zero"
        raise ValueError(f"vector {none[0]} is {about}, so it has no direction: leave this class out.")
    rows = of_size_one(rows[:, None])[:, 0]
    return rows / rows.square().sum(1, keepdim=True).sqrt()
