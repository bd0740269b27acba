"""Features of all samples, kept as a network gave them, and what the metrics need to know of them.

Three passes over what is kept: a first sample of each class, then class means, then deviations from them. That is
exact for collapsed features and needs no d × d matrix, and a block of samples at a time is in float64.
"""

import dataclasses
from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ulpm import _checks
from ulpm._blocks import LARGEST
from ulpm.distributed import ALONE, Shard
from ulpm.metrics.absent import renumbered, require_two
from ulpm.metrics.centre import Center, grand_mean
from ulpm.metrics.evaluation import classes_of_statistics, in_order, metrics_of_statistics, where_defined
from ulpm.metrics.moments import ClassMoments, ClassStatistics, require_every_class, require_moderate
from ulpm.metrics.nearest import nearest_class
from ulpm.metrics.per_class import Samples, with_classes
from ulpm.metrics.precision import epsilon_of, format_bits
from ulpm.metrics.records import METRICS
from ulpm.metrics.tiles import Membership, column_squares, tiles

__all__ = ["CENTRE_ACCURACY", "OF_FEATURES", "KeptSamples"]

OF_FEATURES = tuple(key for key in METRICS if key.startswith(("nc1_", "nc2_")) and "classifier" not in key)
"""The metrics that need no classifier."""
CENTRE_ACCURACY = "ncc_accuracy"
"""The share of samples whose nearest class mean is that of their own class."""


@dataclasses.dataclass(frozen=True)
class _Block:
    """Some samples in float64: columns H [d, n], their classes, and what the classifier predicts."""

    H: Float[Tensor, "d n"]
    labels: Int[Tensor, " n"]
    members: Membership
    predicted: Int[Tensor, " n"] | None


@dataclasses.dataclass(frozen=True)
class _Found:
    """Statistics of all samples, nc1_distance, and the shares of wrong nearest class means.

    Class means are ``references`` r_k plus ``shifts`` [d, K].
    """

    references: Float[Tensor, "d K"]
    shifts: Float[Tensor, "d K"]
    statistics: ClassStatistics
    distance: Float[Tensor, ""]
    mismatch: Float[Tensor, ""]
    accuracy: Float[Tensor, ""]


class KeptSamples:
    """The features of a layer, with labels and predictions, batch by batch; ``name`` is the layer's.

    With a ``shard`` each process keeps its own samples, and what is computed is of the samples of all of them, the same
    on every process.
    """

    def __init__(self, name: str, device: torch.device, shard: Shard = ALONE) -> None:
        self.name, self._shard = name, shard
        self._device = device if _checks.has_float64(device) else torch.device("cpu")
        self._features: list[Tensor] = []
        self._labels: list[Tensor] = []
        self._predicted: list[Tensor] = []
        self._whole: list[_Block] | None = None
        self._classes = 0
        self._format: float | None = None
        self._about_references: Tensor | None = None
        self._centred: Tensor | None = None
        self._numbered: tuple[Tensor, Tensor, Tensor | None]

    def add(self, h: Float[Tensor, "n d"], y: Int[Tensor, " n"], predicted: Int[Tensor, " n"] | None = None) -> None:
        """Keep samples in main memory."""
        self._features.append(h.cpu())
        self._labels.append(y.cpu())
        if predicted is not None:
            self._predicted.append(predicted.cpu())

    @property
    def labels(self) -> Int[Tensor, " N"]:
        """All labels of this process."""
        return torch.cat(self._labels)

    def check(self, num_classes: int) -> None:
        """Put the batches together. Raises: ValueError for features that are not finite or not of one size, or a label
        that is no class index.
        """
        if len({h.shape[1] for h in self._features}) > 1:
            sizes = ", ".join(map(str, sorted({h.shape[1] for h in self._features})))
            raise ValueError(f"layer {self.name!r} must give features of one size, but gives {sizes}: pool them first.")
        features = torch.cat(self._features)
        labels = _checks.labels("y", self.labels, len(features), num_classes)
        self._features, self._labels = [features], [labels]
        if self._predicted:
            self._predicted = [torch.cat(self._predicted)]
        require_finite("h", features, self.name)
        if features.dtype == torch.float64 and len(features):
            require_moderate(torch.stack(torch.aminmax(features)).abs().amax())

    def class_counts(self, num_classes: int) -> Float[Tensor, " K"]:
        """The number of samples of each class, on all processes; to be called after ``check``."""
        (labels,) = self._labels
        return self._shard.all_reduce(torch.bincount(labels, minlength=num_classes).double().to(self._device)).cpu()

    def number_classes(
        self,
        num_classes: int,
        only_present: bool = False,
        among: Bool[Tensor, " K"] | None = None,
        head: tuple[Float[Tensor, "K d"], Float[Tensor, " K"] | None] | None = None,
    ) -> Bool[Tensor, " K"]:
        """Number the classes 0 … K−1, or with ``only_present`` those that have samples; to be called after ``check``.

        Samples of classes that are not ``among`` these are then left out. Where a class is left out, predictions are
        those of W h + b of the ``head`` (W, b) among the classes that stay.

        Returns: which classes are numbered. Raises: ValueError for a class without samples.
        """
        (features,), (labels,) = self._features, self._labels
        predicted = self._predicted[0] if self._predicted else None
        counts = self.class_counts(num_classes)
        present = torch.ones(num_classes, dtype=torch.bool, device="cpu")
        if only_present:
            present = (counts > 0) if among is None else (counts > 0) & among
            require_two(present)
        else:
            require_every_class(counts)
        if not bool(present.all()):
            there = present[labels]
            features, labels = features[there], renumbered(labels[there], present)
            predicted = None if head is None else _predicted_among(features, *head, present)
        self._classes, self._numbered, self._whole = int(present.sum()), (features, labels, predicted), None
        self._format = None
        return present

    def metrics(
        self,
        W: Float[Tensor, "K d"] | None,
        center: Center = "classes",
        means: Float[Tensor, "K d"] | None = None,
        present: Bool[Tensor, " all"] | None = None,
    ) -> dict[str, Float[Tensor, ""] | Float[Tensor, " all"]]:
        """All metrics, about ``means`` in place of the class means if they are given; without W those of features.

        ``ncc_accuracy`` is their last key. With ``present``, which of all classes are numbered, the values of single
        classes are added, of the samples of this process. To be called after ``number_classes``.
        """
        found = self._found(means)
        W = found.statistics.means.mT if W is None else W.to(self._device).double()
        metrics = metrics_of_statistics(found.statistics, W, center)
        of_samples = {"nc1_distance": found.distance, "nc4_mismatch": found.mismatch}
        metrics = in_order(metrics | where_defined(metrics, of_samples))
        if not self._predicted:
            metrics = {key: metrics[key] for key in OF_FEATURES}
        accuracy = torch.where(metrics["nc1_pinv"].isnan(), torch.nan, found.accuracy)
        if present is not None:
            of_classes = classes_of_statistics(found.statistics, W, center, self._samples(found))
            of_classes = {key: of_classes[key] for key in of_classes if key in metrics}
            metrics = with_classes(metrics, of_classes, present.to(self._device))
        return metrics | {CENTRE_ACCURACY: accuracy}

    def class_means(self) -> Float[Tensor, "K d"]:
        """μ_k, one a row. To be called after ``number_classes``."""
        references, shifts, _ = self._means(None)
        return (references + shifts).mT

    def moments(self, means: Float[Tensor, "K d"] | None = None) -> ClassMoments:
        """The moments of the samples of this process."""
        moments = ClassMoments(self._classes, self._numbered[0].shape[1], self._device, means)
        for block in self._blocks():
            moments.update(block.H.mT, block.labels)
        return moments

    def _found(self, means: Tensor | None) -> _Found:
        references, shifts, counts = self._means(means)
        origin, num_samples = references[:, :1], counts.sum()
        relative = (references - origin) + shifts
        statistics = ClassStatistics(
            counts=counts,
            origin=origin,
            means=relative,
            within_traces=self._zeros(len(counts)),
            variance_along=lambda U: self._variance_along(U, references, shifts) / num_samples,
            epsilon=self._epsilon,
        )
        centres = relative - grand_mean(statistics)
        traces, sums = self._zeros(len(counts)), self._zeros(4)
        for block, deviations in self._deviations(references, shifts):
            squares = column_squares(deviations)
            about_mean = block.members.squares_with(deviations, centres)
            nearest = nearest_class(statistics, block.H)
            predicted = nearest if block.predicted is None else block.predicted
            right, mismatched = (nearest == block.labels).sum(), (nearest != predicted).sum()
            traces += block.members.sums(squares)
            sums += torch.stack([squares.sqrt().sum(), about_mean.sqrt().sum(), mismatched, right])
        total = self._shard.all_reduce(torch.cat([traces, sums]))
        within, about, mismatched, right = total[len(counts) :]
        statistics = dataclasses.replace(statistics, within_traces=total[: len(counts)] / counts)
        return _Found(references, shifts, statistics, within / about, mismatched / num_samples, right / num_samples)

    def _samples(self, found: _Found) -> Iterator[Samples]:
        """The samples with their deviations; what a layer that is no classifier would predict is its nearest mean."""
        for block, deviations in self._deviations(found.references, found.shifts):
            predicted = nearest_class(found.statistics, block.H) if block.predicted is None else block.predicted
            yield Samples(block.H, deviations, block.labels, predicted)

    def _means(self, means: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """References r_k [d, K], the class means less these, and counts n_k, of the samples of all processes."""
        local = self._zeros(self._classes)
        references = self._zeros(self._numbered[0].shape[1], self._classes)
        for block in self._blocks():
            new = (local == 0) & (block.members.counts > 0)
            references = torch.where(new, block.H[:, block.members.first], references)
            local = local + block.members.counts
        counts = self._shard.all_reduce(local)
        self._about_references, self._centred = None, None
        if means is not None:
            given = means.to(self._device).double().mT
            return given, torch.zeros_like(given), counts
        references = self._shard.first(references, local)
        sums = torch.zeros_like(references)
        for block in self._blocks():
            shifted = block.members.minus(block.H, references)
            sums += block.members.sums(shifted)
            self._about_references = shifted if self._whole else None
        return references, self._shard.all_reduce(sums) / counts, counts

    def _variance_along(self, U: Tensor, references: Tensor, shifts: Tensor) -> Tensor:
        total = self._zeros(U.shape[-1])
        for _, deviations in self._deviations(references, shifts):
            total += (U.mT @ deviations).square().sum(-1)
        return self._shard.all_reduce(total)

    def _deviations(self, references: Tensor, shifts: Tensor) -> Iterator[tuple[_Block, Tensor]]:
        """Each block with h_i − μ_{y_i}, about a sample of the class, then its mean: free of rounding where features
        are collapsed. If one block holds all samples, these are computed once.
        """
        for block in self._blocks():
            if self._centred is None:
                shifted, self._about_references = self._about_references, None
                deviations = block.members.minus(block.H, references) if shifted is None else shifted
                block.members.subtract_(deviations, shifts)
                if not self._whole:
                    yield block, deviations
                    continue
                self._centred = deviations
            yield block, self._centred

    def _epsilon(self) -> float:
        if self._format is None:
            in_float32 = self._numbered[0].dtype is not torch.float64
            # One of several processes may have no sample.
            bits = max((format_bits(block.H, in_float32) for block in self._blocks()), default=0)
            found = self._shard.all_gather(torch.tensor(bits, dtype=torch.int64, device=self._device))
            self._format = epsilon_of(int(found.max()))
        return self._format

    def _blocks(self) -> Iterator[_Block]:
        """Some samples at a time; the same block again if one holds all."""
        if self._whole is not None:
            yield from self._whole
            return
        features, labels, predicted = self._numbered
        step = max(1, LARGEST // max(features.shape[1], self._classes))
        for first in range(0, len(features), step):
            part = slice(first, first + step)
            y = labels[part].to(self._device)
            H = features[part].to(self._device, torch.float64).mT
            guess = None if predicted is None else predicted[part].to(self._device)
            block = _Block(H, y, Membership(y, self._classes), guess)
            if len(features) <= step:
                self._whole = [block]
            yield block

    def _zeros(self, *size: int) -> Tensor:
        return torch.zeros(size, dtype=torch.float64, device=self._device)


def require_finite(name: str, values: Tensor, layer: str) -> None:
    """Raises: ValueError that names the layer if ``values`` are not finite."""
    # A finite sum has finite terms: one pass without a table of flags. Only huge terms can make it infinite as well.
    values = values.cpu()
    if not bool(values.sum(dtype=torch.float64).isfinite()) and not bool(values.isfinite().all()):
        raise ValueError(
            f"{name} must be finite, but {name} of layer {layer!r} contains NaN or infinity: "
            "the training has diverged, or the inputs are not finite."
        )


def _predicted_among(
    features: Float[Tensor, "n d"],
    W: Float[Tensor, "K d"],
    bias: Float[Tensor, " K"] | None,
    present: Bool[Tensor, " K"],
) -> Int[Tensor, " n"]:
    """argmax of W h + b over the classes that are present, counted among these."""
    rows = W.cpu()[present]
    offset = None if bias is None else bias.cpu().to(rows.dtype)[present]
    parts = tiles(len(features), len(rows))
    found = [torch.nn.functional.linear(features[part].to(rows.dtype), rows, offset).argmax(1) for part in parts]
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.int64, device="cpu")
