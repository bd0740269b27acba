"""How far features have collapsed: every metric of all classes together, and what of it is due to each class."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ulpm.metrics import METRICS, ClassMoments, ClassStatistics
from ulpm.metrics.centre import grand_mean
from ulpm.metrics.evaluation import frame_of, metrics_of_frame, where_defined
from ulpm.metrics.floors import feature_size, rounding_floors
from ulpm.metrics.frame import Frame, norm_of
from ulpm.metrics.nearest import nearest_class
from ulpm.metrics.tiles import tiles

__all__ = ["CollapseReport", "report_of"]

MOST_SHOWN = 1000
"""Classes of which a table of all by all is kept, for the figure."""

Tiles = Callable[[], Iterator[tuple[slice, Tensor]]]


@dataclasses.dataclass(frozen=True, eq=False)
class CollapseReport:
    """What ``Features.measure`` finds.

    For each class ``per_class`` holds

        samples       n_k
        spread        v_k / tr Σ_B, v_k the mean of ‖h − μ_k‖²        its mean over samples is nc1_ratio
        length        ‖μ_k − μ_G‖ over the mean of these
        angle         mean over j of abs(cos(μ_j − μ_G, μ_k − μ_G) + 1/(K−1))      its mean is nc2_angle_means
        nearest       the class whose mean is nearest
        duality       ‖(μ_k − μ_G)/‖·‖ − w̄_k/‖·‖‖                     its mean is nc3_duality
        mismatch      share of samples whose nearest class mean is not the prediction
        error         share of samples that are predicted to be of another class

    duality is there if the classifier is known, mismatch and error if it or the predictions are.

    Attributes:
        class_names: What the labels were [K].
        feature_dim: The dimension d of the features.
        metrics: By the keys of ``ulpm.neural_collapse``: without a classifier, those of the features alone, and
            nc4_mismatch if predictions are known.
        floors: The values that rounding alone may give, by the same keys.
        per_class: The quantities above, a list of K values each.
        cosines: Those between the class means about μ_G [K, K]; None for more than 1,000 classes.

    >>> features = ulpm.Features.of(torch.tensor([[0.0], [2.0], [8.0], [9.0]]), ["near", "near", "far", "far"])
    >>> report = features.measure()
    >>> report.class_names, report.per_class["samples"], report.per_class["nearest"]
    (('far', 'near'), [2, 2], [1, 0])
    >>> [round(spread, 4) for spread in report.per_class["spread"]]
    [0.0178, 0.0711]
    """

    class_names: tuple[str, ...]
    feature_dim: int
    metrics: dict[str, float]
    floors: dict[str, float]
    per_class: dict[str, list[Any]]
    cosines: Float[Tensor, "K K"] | None

    @property
    def num_samples(self) -> int:
        """The number N of samples."""
        return int(sum(self.per_class["samples"]))

    @property
    def error(self) -> float | None:
        """The share of samples that are predicted to be of another class; None without predictions."""
        if "error" not in self.per_class:
            return None
        wrong = zip(self.per_class["error"], self.per_class["samples"], strict=True)
        return float(sum(share * n for share, n in wrong)) / self.num_samples

    def to_json(self) -> dict[str, Any]:
        """Everything but the cosines as valid JSON; what is not finite is None."""
        return {
            "samples": self.num_samples,
            "feature_dim": self.feature_dim,
            "classes": list(self.class_names),
            "metrics": {key: _finite(value) for key, value in self.metrics.items()},
            "floors": {key: _finite(value) for key, value in self.floors.items()},
            "per_class": {key: [_finite(value) for value in values] for key, values in self.per_class.items()},
        }


def report_of(
    parts: Tiles,
    feature_dim: int,
    class_names: tuple[str, ...],
    labels: Int[Tensor, " N"],
    W: Float[Tensor, "K d"] | None,
    bias: Float[Tensor, " K"] | None,
    predictions: Int[Tensor, " N"] | None,
) -> CollapseReport:
    """The report of features that ``parts`` gives, from the first to the last, twice."""
    K = len(class_names)
    moments = ClassMoments(K, feature_dim)
    for rows, H in parts():
        moments.update(H, labels[rows])
    statistics = moments.statistics()
    # A classifier of zeros has no geometry, and leaves the metrics of features as they are.
    rows_of = torch.zeros(K, feature_dim, dtype=torch.float64, device="cpu") if W is None else W.double()
    frame = frame_of(statistics, rows_of, "classes")
    found = metrics_of_frame(frame)
    distance, wrong, mismatched = _of_samples(parts, moments, statistics, labels, W, bias, predictions)
    mismatches = distance.new_full((), torch.nan) if mismatched is None else mismatched.sum() / statistics.counts.sum()
    found |= where_defined(found, {"nc1_distance": distance, "nc4_mismatch": mismatches})
    keys = [key for key in METRICS if key in found and (W is not None or _of_features(key, mismatched is not None))]
    far_W = rows_of.norm() / (rows_of - rows_of.mean(0)).norm()
    floors = rounding_floors(feature_size(statistics), far_W, K, statistics.epsilon())
    per_class, cosines = _class_by_class(frame, W is not None)
    if mismatched is not None and wrong is not None:
        per_class["mismatch"] = (mismatched / statistics.counts).tolist()
        per_class["error"] = (wrong / statistics.counts).tolist()
    return CollapseReport(
        class_names,
        feature_dim,
        {key: float(found[key]) for key in keys},
        {key: float(floors[key]) for key in keys if key in floors},
        per_class,
        cosines,
    )


def _of_features(key: str, predicted: bool) -> bool:
    """Whether a metric needs no classifier."""
    return ("classifier" not in key and not key.startswith(("nc0", "nc3", "nc4"))) or (
        key == "nc4_mismatch" and predicted
    )


def _of_samples(
    parts: Tiles,
    moments: ClassMoments,
    statistics: ClassStatistics,
    labels: Int[Tensor, " N"],
    W: Float[Tensor, "K d"] | None,
    bias: Float[Tensor, " K"] | None,
    predictions: Int[Tensor, " N"] | None,
) -> tuple[Float[Tensor, ""], Float[Tensor, " K"] | None, Float[Tensor, " K"] | None]:
    """nc1_distance; of each class how many predictions are wrong, and how many are not the nearest class mean."""
    from_mean = statistics.means - grand_mean(statistics)
    within, total = torch.zeros(2, dtype=torch.float64, device="cpu")
    wrong, mismatched = torch.zeros(2, len(statistics.counts), dtype=torch.float64, device="cpu")
    for rows, h in parts():
        H, y = h.double().mT, labels[rows]
        # About a sample of the class, then its mean: free of rounding where features are collapsed.
        deviations = moments.centered(H.mT, y).mT
        within += torch.linalg.vector_norm(deviations, dim=0).sum()
        total += torch.linalg.vector_norm(deviations + from_mean[:, y], dim=0).sum()
        predicted = _predicted(H, W, bias) if predictions is None else predictions[rows]
        if predicted is not None:
            wrong += torch.bincount(y, (predicted != y).double(), len(wrong))
            mismatched += torch.bincount(y, (nearest_class(statistics, H) != predicted).double(), len(wrong))
    known = W is not None or predictions is not None
    return within / total, wrong if known else None, mismatched if known else None


def _predicted(
    H: Float[Tensor, "d n"], W: Float[Tensor, "K d"] | None, bias: Float[Tensor, " K"] | None
) -> Int[Tensor, " n"] | None:
    if W is None:
        return None
    logits = W.double() @ H
    return (logits if bias is None else logits + bias.double()[:, None]).argmax(0)


def _class_by_class(frame: Frame, classified: bool) -> tuple[dict[str, list[Any]], Float[Tensor, "K K"] | None]:
    statistics, K = frame.statistics, len(frame.statistics.counts)
    # A class mean that is μ_G but for rounding has no direction, and is zero there.
    units, _, rows = frame.directions
    lengths = norm_of(frame.means, -2)
    angles, shown = [], []
    # A table of all classes by all classes a part at a time, as there may be many.
    for part in tiles(K, K):
        cosines = units[:, part].mT @ units
        off = (cosines + 1 / (K - 1)).abs()
        own = torch.arange(part.stop - part.start, device="cpu")
        off[own, own + part.start] = 0.0
        angles.append(off.sum(1) / (K - 1))
        if K <= MOST_SHOWN:
            shown.append(cosines)
    values: dict[str, list[Any]] = {
        "samples": [int(n) for n in statistics.counts.tolist()],
        "spread": (statistics.within_traces / (frame.means.square().sum() / K)).tolist(),
        "length": (lengths / lengths.mean()).tolist(),
        "angle": torch.cat(angles).tolist(),
        "nearest": _nearest_mean(statistics.means.mT).tolist(),
    }
    if classified:
        values["duality"] = norm_of(units - rows, -2).tolist()
    return values, torch.cat(shown) if shown else None


def _nearest_mean(means: Float[Tensor, "K d"]) -> Int[Tensor, " K"]:
    nearest = []
    for part in tiles(len(means), len(means)):
        distances = torch.cdist(means[part], means, compute_mode="donot_use_mm_for_euclid_dist")
        rows = torch.arange(part.stop - part.start, device="cpu")
        distances[rows, rows + part.start] = torch.inf
        nearest.append(distances.argmin(1))
    return torch.cat(nearest)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
