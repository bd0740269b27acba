"""NC5: whether data of no class lie orthogonal to the class means."""

import torch
from jaxtyping import Float
from torch import Tensor

from ulpm import _checks
from ulpm.metrics.frame import norm_of
from ulpm.metrics.moments import ClassMoments

__all__ = ["out_of_distribution"]


def out_of_distribution(
    moments: ClassMoments, outside: Float[Tensor, "M d"]
) -> dict[str, Float[Tensor, ""] | Float[Tensor, " K"]]:
    """NC5, the orthogonality of class means and the mean of out-of-distribution data.

    With class means μ_k, not centred, and the mean μ_out of the features of data of no class:

        nc5                 mean over k of abs(⟨μ_k, μ_out⟩) / (‖μ_k‖ ‖μ_out‖)
        nc5_per_class       its K summands

    A zero mean has no angle, which is NaN. Only the mean of ``outside`` is read, so samples on both sides of it are
    not seen, and the angles are those about the origin, so that an offset of all features changes them.

    Args:
        moments: The moments of the features of K classes in d dimensions.
        outside: The features of data of no class [M, d], one sample a row, float32 or float64.

    Returns:
        A mapping with nc5, a float64 scalar, and nc5_per_class [K]. Both are between 0 and 1, without a unit.

    Raises:
        TypeError: For anything but ClassMoments and a floating tensor.
        ValueError: For features of another size than the moments or not finite, or a class without samples.

    Source: Ammar, Belkhir, Popescu, Manzanera & Franchi, 2024, NECO: Neural collapse based out-of-distribution
    detection.

    >>> moments = ulpm.ClassMoments(num_classes=2, feature_dim=3)
    >>> moments.update(torch.eye(3)[:2], torch.tensor([0, 1]))
    >>> found = ulpm.out_of_distribution(moments, torch.tensor([[0.0, 3.0, 4.0]]))
    >>> [round(float(value), 12) for value in (found["nc5"], *found["nc5_per_class"])]
    [0.3, 0.0, 0.6]
    """
    if not isinstance(moments, ClassMoments):
        raise TypeError(f"moments must be a ClassMoments, but a {type(moments).__name__} was given.")
    _checks.shape("outside", _checks.floating("outside", outside), None, moments.feature_dim)
    if outside.ndim != 2:
        raise ValueError(f"outside must have shape [M, {moments.feature_dim}], but its shape is {list(outside.shape)}.")
    features = outside.detach().to(moments.device).double()
    first = features[:1]
    mean = _of_size_one(first + (features - first).mean(0, keepdim=True))[0]
    means = _of_size_one(moments.class_means())
    cosines = ((means @ mean) / (norm_of(means, -1) * norm_of(mean, -1))).abs().clamp(max=1.0)
    return {"nc5": cosines.mean(), "nc5_per_class": cosines}


def _of_size_one(rows: Tensor) -> Tensor:
    """Rows over their largest entries, so that no square over- or underflows; a zero row stays."""
    largest = rows.abs().amax(-1, keepdim=True)
    return rows / torch.where(largest > 0, largest, 1.0)
