"""The metrics of class statistics, and of the samples where these are there too."""

import dataclasses
import functools
from collections.abc import Iterable, Iterator

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ulpm._blocks import column_tiles
from ulpm.distributed import ALONE, Shard
from ulpm.metrics.centre import Center, centring_weights
from ulpm.metrics.class_statistics import members, statistics_of
from ulpm.metrics.frame import Frame
from ulpm.metrics.moments import ClassStatistics
from ulpm.metrics.nearest import nearest_class
from ulpm.metrics.per_class import Samples, of_frame, of_samples
from ulpm.metrics.records import METRICS, RECORDS
from ulpm.metrics.rounding import LARGEST_SHARE, squared_rounding
from ulpm.metrics.simplex import of_size_one
from ulpm.metrics.tiles import tiles
from ulpm.metrics.variability import narrow, pinv_trace, plain_pinv_trace, tied_classes, with_equal_means

__all__ = [
    "ClassifiedSamples",
    "classes_at",
    "classes_of_statistics",
    "frame_of",
    "in_order",
    "metrics_of_frame",
    "metrics_of_statistics",
    "where_defined",
]


@dataclasses.dataclass(frozen=True)
class ClassifiedSamples:
    """float64 samples H with a classifier of them, and what ``statistics_of`` has found in them.

    ``products`` is W H, if that is known. With a ``shard``, H are the samples of this process, and the metrics those of
    all.
    """

    statistics: ClassStatistics
    distance_ratio: Float[Tensor, "*batch"]
    W: Float[Tensor, "*batch K d"]
    H: Float[Tensor, "*batch d N"]
    bias: Float[Tensor, "*#batch K"] | None = None
    center: Center = "classes"
    shard: Shard = ALONE
    products: Float[Tensor, "*batch K N"] | None = None

    def metrics(self) -> dict[str, Float[Tensor, "*batch"]]:
        """``neural_collapse``."""
        frame, plain = _plain_frame(self.statistics, self.W, self.center)
        close = not bool(plain)
        if close:
            frame = _careful_frame(frame, self.statistics, self.center)
        metrics, of_samples = metrics_of_frame(frame), self._of_samples(close)
        return in_order(metrics | (where_defined(metrics, of_samples) if close else of_samples))

    def plain_metrics(self) -> tuple[dict[str, Float[Tensor, "*batch"]], Bool[Tensor, ""]]:
        """``metrics`` by the formulas as they stand, and whether nothing else is needed, without waiting for a device.

        They are enough where class means are far apart for any precision, and sizes moderate.
        """
        frame, plain = _plain_frame(self.statistics, self.W, self.center)
        return in_order(metrics_of_frame(frame) | self._of_samples(close=False)), plain

    def _of_samples(self, close: bool) -> dict[str, Tensor]:
        """The two metrics that take the samples, whose class means may be ``close``."""
        return {"nc1_distance": self.distance_ratio, "nc4_mismatch": self._mismatch(close)}

    def _mismatch(self, close: bool) -> Tensor:
        """The share of samples that have another nearest class mean than prediction."""
        W, H, bias, products = self.W, self.H, self.bias, self.products

        def count(part: slice) -> Tensor:
            samples = H[..., part]
            logits = W @ samples if products is None else products[..., part]
            predicted = (logits if bias is None else logits + bias[..., None]).max(-2).indices
            return (nearest_class(self.statistics, samples, close) != predicted).sum(-1, dtype=torch.float64)

        parts = _sample_tiles(W, H) if close else tiles(H.shape[-1], W.shape[:-1].numel())
        wrong: Tensor = self.shard.all_reduce(functools.reduce(torch.add, map(count, parts)))
        return wrong / self.statistics.counts.sum()


def metrics_of_statistics(
    statistics: ClassStatistics, W: Float[Tensor, "K d"], center: Center = "classes"
) -> dict[str, Float[Tensor, ""]]:
    """``neural_collapse_from_moments`` of any statistics and a float64 W that fits them."""
    return metrics_of_frame(frame_of(statistics, W, center))


def classes_of_statistics(
    statistics: ClassStatistics, W: Float[Tensor, "K d"], center: Center, parts: Iterable[Samples]
) -> dict[str, Float[Tensor, " K"]]:
    """Values of each class, from the samples in parts and what the statistics say of them."""
    frame = frame_of(statistics, W, center)
    return of_frame(frame) | of_samples(frame, parts)


def classes_at(W: Tensor, H: Tensor, labels: Tensor, bias: Tensor | None, center: Center) -> dict[str, Tensor]:
    """Values of each class of float64 tensors that are known to fit."""
    membership, counts = members(labels, W.shape[-2])
    statistics, _ = statistics_of(H, membership, counts)
    frame = frame_of(statistics, W, center)
    # As the statistics were found: about a sample of the class, then its mean.
    deviations = membership.minus(H, H.index_select(-1, membership.first))
    membership.subtract_(deviations, membership.sums(deviations) / counts)

    def parts() -> Iterator[Samples]:
        for part in _sample_tiles(W, H):
            logits = W @ H[..., part]
            predicted = (logits if bias is None else logits + bias[..., None]).max(-2).indices
            yield Samples(H[..., part], deviations[..., part], labels[part], predicted)

    return of_frame(frame) | of_samples(frame, parts())


def where_defined(metrics: dict[str, Tensor], of_samples: dict[str, Tensor]) -> dict[str, Tensor]:
    """nc1_distance and nc4_mismatch, NaN where rounding explains all distances, or all those between class means."""
    return {
        "nc1_distance": torch.where(metrics["nc1_ratio"].isnan(), torch.nan, of_samples["nc1_distance"]),
        "nc4_mismatch": torch.where(metrics["nc1_pinv"].isnan(), torch.nan, of_samples["nc4_mismatch"]),
    }


def in_order(metrics: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same in the order of METRICS, in which tables show them."""
    return {key: metrics[key] for key in METRICS}


def _sample_tiles(W: Tensor, H: Tensor) -> list[slice]:
    """Parts of the samples. Columns of logits and scores have K numbers, those of H have d."""
    return min(column_tiles(H), tiles(H.shape[-1], W.shape[:-1].numel()), key=lambda found: found[0].stop)


def frame_of(statistics: ClassStatistics, W: Tensor, center: Center) -> Frame:
    """What the metrics are made of."""
    frame, plain = _plain_frame(statistics, of_size_one(W), center)
    return frame if bool(plain) else _careful_frame(frame, statistics, center)


def _plain_frame(statistics: ClassStatistics, W: Tensor, center: Center) -> tuple[Frame, Bool[Tensor, ""]]:
    """The same by the formulas as they stand, and whether they are enough, as ``plain_metrics`` says."""
    weights, M = _centred_means(statistics, center)
    trace, apart = plain_pinv_trace(M, weights, statistics)
    frame = Frame.of(statistics, M, W, trace)
    if center == "classes" and not narrow(M):
        # σ, the least singular value on the complement of the weights, is above the rounding of all means together:
        # ‖μ_j − μ_k‖ ≥ √2 σ and ‖μ_k − μ_G‖ ≥ √(1 − 1/K) σ are above that of two of them, and of ``_central``.
        return frame, apart & frame.moderate
    # Of two class means, or of one and μ_G: the coefficients of ``_central`` add up to at most 2.
    rounding = 2 * LARGEST_SHARE**2 * statistics.squared_sizes.amax(-1)
    least = torch.minimum(M.square().sum(-2).amin(-1), frame.least_square())
    return frame, apart & frame.moderate & (rounding < least).all()


def _careful_frame(plain: Frame, statistics: ClassStatistics, center: Center) -> Frame:
    """The same without differences of means that the rounding of the features explains, for any sizes."""
    weights, M = _centred_means(statistics, center)
    rounding = squared_rounding(statistics)
    trace = pinv_trace(M, weights, statistics, rounding.sum(-1).sqrt())
    equal = trace.isnan()
    central = equal[..., None] | _central(M, weights, rounding)
    near = ~equal & (plain.least_square() <= 2 * rounding.amax(-1))
    regular, apart = torch.stack([plain.moderate & ~central.any(), ~near.any()]).tolist()
    if regular:
        frame = dataclasses.replace(plain, pinv_trace=trace)
    else:
        M = torch.where(central[..., None, :], 0.0, M)
        frame = Frame.of(with_equal_means(statistics, equal), M, plain.rows, trace, of_any_size=True)
    return frame if apart else _with_ties(frame, near[..., None] & tied_classes(statistics, rounding))


def _with_ties(frame: Frame, tied: Tensor) -> Frame:
    """The same with an infinite nc1_cdnv; what is 0/0 for another pair stays so."""
    infinite = torch.where(tied.any(-1), torch.inf, 0.0)
    return dataclasses.replace(
        frame, tied=tied, distance_normalised_variance=frame.distance_normalised_variance + infinite
    )


def _central(M: Tensor, weights: Tensor, rounding: Tensor) -> Bool[Tensor, "*batch K"]:
    """Which class means are μ_G but for rounding, which moves each of them by a square of ``rounding``."""
    moved = rounding * (1 - 2 * weights) + (rounding @ weights.square())[..., None]
    return M.square().sum(-2) <= moved


def _centred_means(statistics: ClassStatistics, center: Center) -> tuple[Tensor, Tensor]:
    weights = centring_weights(statistics.counts, center)
    return weights, statistics.means - statistics.means @ weights[:, None]


def metrics_of_frame(frame: Frame) -> dict[str, Tensor]:
    """Every metric but nc1_distance and nc4_mismatch."""
    return {record.key: record.of(frame) for record in RECORDS if record.of is not None}
