"""The values of single classes behind the metrics: which class is collapsed, and which is not."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ulpm import _checks
from ulpm.metrics.absent import in_all_classes
from ulpm.metrics.centre import grand_mean
from ulpm.metrics.frame import Frame, norm_of
from ulpm.metrics.nearest import nearest_class
from ulpm.metrics.pairs import angle_sums, variance_sums
from ulpm.metrics.records import METRICS
from ulpm.metrics.tiles import Membership
from ulpm.metrics.variability import pinv_columns

__all__ = ["ClassSummary", "Samples", "class_summary", "of_frame", "of_samples", "with_classes"]

_VECTORS = ("means", "classifier", "classifier_centered")


class Samples(NamedTuple):
    """Some of the samples: features, their deviations from the class means, classes and predicted classes."""

    H: Float[Tensor, "*batch d n"]
    deviations: Float[Tensor, "*batch d n"]
    labels: Int[Tensor, " n"]
    predicted: Int[Tensor, "*batch n"]


class ClassSummary(NamedTuple):
    """What the values of a metric say of the classes. Classes whose value is NaN are left out.

    Attributes:
        mean: Over the classes, all counted alike [...].
        median: Over the classes [...].
        worst: The value farthest from 0 [...].
        worst_class: The first class that has it [...].
        best: The value closest to 0 [...].
        best_class: The first class that has it [...].

    >>> ulpm.class_summary(torch.tensor([1.0, -2.0])).worst_class
    tensor(1)
    """

    mean: Float[Tensor, "*batch"]
    median: Float[Tensor, "*batch"]
    worst: Float[Tensor, "*batch"]
    worst_class: Int[Tensor, "*batch"]
    best: Float[Tensor, "*batch"]
    best_class: Int[Tensor, "*batch"]


def class_summary(values: Float[Tensor, "*batch K"]) -> ClassSummary:
    """Mean, median, worst and best class of the values of a metric, one a class.

    Every metric vanishes at collapse, so the worst class has the largest absolute value, the best the smallest. For
    margins, where small is bad, read ``values.argmin()``.

    Args:
        values: Of each class [..., K], as the keys ``*_per_class`` of :func:`ulpm.neural_collapse` hold them.

    Returns:
        A ClassSummary of tensors [...], in the unit of the values.

    Raises:
        TypeError: For anything but a floating tensor.
        ValueError: For one without classes.

    >>> summary = ulpm.class_summary(torch.tensor([0.5, 0.25, 4.0, 1.0]))
    >>> float(summary.mean), float(summary.median), float(summary.worst), int(summary.worst_class)
    (1.4375, 0.75, 4.0, 2)
    >>> int(summary.best_class)
    1
    """
    if not isinstance(values, Tensor) or not values.is_floating_point():
        raise TypeError(f"values must be a floating tensor [..., K], but a {type(values).__name__} was given.")
    _checks.has_numbers("values", values)
    if values.ndim == 0 or values.numel() == 0:
        raise ValueError(f"values must have shape [..., K] with K ≥ 1, but their shape is {list(values.shape)}.")
    sizes, absent = values.abs(), values.isnan()
    worst = torch.where(absent, -math.inf, sizes).max(-1).indices
    # An infinite value is better than none.
    best = torch.where(absent, math.inf, sizes.clamp(max=torch.finfo(sizes.dtype).max)).min(-1).indices
    # Half formats have no quantiles, and two infinite values no point between them.
    lower, higher = (values.double().nanquantile(0.5, -1, interpolation=side) for side in ("lower", "higher"))
    return ClassSummary(
        mean=values.nanmean(-1),
        median=((lower + higher) / 2).to(values),
        worst=_at(values, worst),
        worst_class=worst,
        best=_at(values, best),
        best_class=best,
    )


def of_frame(frame: Frame) -> dict[str, Float[Tensor, "*batch K"]]:
    """The values of each class that class means and variances give."""
    K, v = frame.rows.shape[-2], frame.statistics.within_traces
    means = frame.statistics.means
    lengths = norm_of(frame.columns, -2)
    relative = lengths / lengths.mean(-1, keepdim=True) - 1
    replicas = zip(means.reshape(-1, *means.shape[-2:]), v.reshape(-1, K), strict=True)
    variances = torch.stack([variance_sums(mean, variance)[0] for mean, variance in replicas]).reshape(v.shape)
    if frame.tied is not None:
        variances = torch.where(frame.tied, torch.inf, variances)
    directions = frame.directions
    angles = torch.stack([angle_sums(one) for one in directions.reshape(-1, *directions.shape[-2:])])
    angles = angles.reshape(*directions.shape[:-2], K) / (K - 1)
    ratio = v / (frame.means.square().sum((-2, -1)) / K)[..., None]
    return (
        {"nc1_ratio": ratio, "nc1_cdnv": variances / (K - 1)}
        | {f"nc2_norm_{name}": relative[i] for i, name in enumerate(_VECTORS)}
        | {f"nc2_angle_{name}": angles[i] for i, name in enumerate(_VECTORS)}
        | {"nc3_duality": norm_of(directions[0] - directions[2], -2)}
    )


def of_samples(frame: Frame, parts: Iterable[Samples]) -> dict[str, Float[Tensor, "*batch K"]]:
    """The values of each class that need the samples, which come in parts."""
    statistics = frame.statistics
    columns, K = pinv_columns(frame.means, statistics), len(statistics.counts)
    from_mean = statistics.means - grand_mean(statistics)
    found, labels = [], []
    for part in parts:
        along = (columns.mT @ part.deviations).square().sum(-2)
        within = norm_of(part.deviations, -2)
        total = norm_of(part.deviations + from_mean[..., part.labels], -2)
        wrong = (nearest_class(statistics, part.H) != part.predicted).double()
        found.append(torch.stack([along, within, total, wrong]))
        labels.append(part.labels)
    values = torch.cat(found, -1)
    membership = Membership(torch.cat(labels), K)
    along, within, _, wrong = (membership.sums(values) / statistics.counts).unbind()
    mean_total = values[2].mean(-1, keepdim=True)
    return {"nc1_pinv": along, "nc1_distance": within / mean_total, "nc4_mismatch": wrong}


def with_classes(
    metrics: dict[str, Tensor], of_classes: dict[str, Tensor], present: Bool[Tensor, " K"]
) -> dict[str, Tensor]:
    """Metrics with the values of each class that is present, NaN where the metric is, and the balanced metrics."""
    named, balanced = {}, {}
    for key in (key for key in METRICS if key in of_classes):
        values = torch.where(metrics[key].isnan()[..., None], torch.nan, of_classes[key])
        named[f"{key}_per_class"] = in_all_classes(values, present)
        if key in ("nc1_pinv", "nc1_ratio"):
            balanced[f"{key}_balanced"] = values.mean(-1)
    return metrics | balanced | named


def _at(values: Tensor, index: Tensor) -> Tensor:
    return values.gather(-1, index[..., None])[..., 0]
