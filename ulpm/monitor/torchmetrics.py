"""Neural collapse as a metric of torchmetrics: update, compute, reset, and the sum over processes."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ulpm.metrics.collapse import neural_collapse_from_moments
from ulpm.metrics.evaluation import metrics_of_statistics
from ulpm.metrics.kept import OF_FEATURES
from ulpm.metrics.moments import ClassMoments

try:
    from torchmetrics import Metric
except ImportError as error:
    raise ImportError("this module needs the package torchmetrics: pip install 'ulpm[torchmetrics]'.") from error

__all__ = ["NeuralCollapse"]

# What ClassMoments holds.
_PARTS = ("counts", "references", "sums", "squares", "scatter")


class NeuralCollapse(Metric):  # type: ignore[misc, unused-ignore]  # untyped where it is missing
    """The metrics of :func:`ulpm.neural_collapse_from_moments` as one metric of torchmetrics.

        metric = NeuralCollapse(num_classes=10, feature_dim=512, classifier=model.fc)
        metric.update(features, labels)         # [B, d] and [B], batch by batch
        metric.compute()                        # a dict of tensors;  metric.reset() begins again

    nc1_distance and nc4_mismatch are not there: they need the samples again, as :func:`ulpm.measure` has them.
    Processes of torch.distributed have the metrics of all their samples. All is in float64.

    Args:
        num_classes: The number K ≥ 2 of classes.
        feature_dim: The dimension d ≥ 1 of the features.
        classifier: The linear layer, whose weight [K, d] is read when ``compute`` is called. Without it what needs W is
            left out.
        kwargs: Those of ``torchmetrics.Metric``.

    Raises:
        TypeError: If a size is no integer.
        ValueError: For sizes below 2 classes or 1 feature.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = True

    counts: Tensor
    references: Tensor
    sums: Tensor
    squares: Tensor
    scatter: Tensor
    bits: Tensor

    def __init__(self, num_classes: int, feature_dim: int, classifier: nn.Module | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_classes, self.feature_dim = num_classes, feature_dim
        self._classifier = None if classifier is None else _Reference(classifier)
        empty = ClassMoments(num_classes, feature_dim)
        for name in _PARTS:
            self.add_state(name, default=getattr(empty, name), dist_reduce_fx=None)
        self.add_state("bits", default=torch.zeros((), dtype=torch.int64, device="cpu"), dist_reduce_fx=None)
        self.set_dtype(torch.float64)

    def update(self, features: Float[Tensor, "B d"], labels: Int[Tensor, " B"]) -> None:
        """Add samples with their classes.

        Args:
            features: One sample a row [B, d], of any floating format.
            labels: The classes [B] in 0 … K−1.

        Raises:
            TypeError: As :meth:`ulpm.ClassMoments.update`.
            ValueError: As :meth:`ulpm.ClassMoments.update`.
        """
        moments = self._moments()
        moments.update(features.float() if features.dtype in (torch.float16, torch.bfloat16) else features, labels)
        for name in _PARTS:
            setattr(self, name, getattr(moments, name))
        self.bits = torch.tensor(moments.bits, dtype=torch.int64, device=self.bits.device)

    def compute(self) -> dict[str, Tensor]:
        """All metrics.

        Returns:
            A mapping from keys to float64 scalars.

        Raises:
            ValueError: If a class has no sample.
        """
        moments = self._moments()
        if self._classifier is not None:
            W = self._classifier.weight()
            return neural_collapse_from_moments(moments, W.float() if W.dtype.itemsize < 4 else W)
        statistics = moments.statistics()
        found = metrics_of_statistics(statistics, statistics.means.mT)
        return {key: found[key] for key in OF_FEATURES if key in found}

    def _moments(self) -> ClassMoments:
        """The moments of all processes, whose parts torchmetrics has stacked."""
        K, d = self.num_classes, self.feature_dim
        shapes = {"counts": (K,), "references": (K, d), "sums": (K, d), "squares": (K,), "scatter": (d, d)}
        stacked = {name: getattr(self, name).reshape(-1, *shape) for name, shape in shapes.items()}
        bits = self.bits.flatten().tolist()
        whole = ClassMoments(self.num_classes, self.feature_dim, self.counts.device)
        for i, each in enumerate(bits):
            part = ClassMoments(self.num_classes, self.feature_dim, self.counts.device)
            for name in _PARTS:
                setattr(part, name, stacked[name][i].clone())
            part.bits = each
            if len(bits) == 1:
                return part
            whole.merge(part)
        return whole


class _Reference:
    """A layer of a network: no part of the metric, and the same one in its copies."""

    def __init__(self, layer: nn.Module) -> None:
        self._layer = layer

    def __deepcopy__(self, memo: object) -> "_Reference":
        return self

    def weight(self) -> Tensor:
        weight: Tensor = self._layer.weight  # type: ignore[assignment]
        return weight.detach().flatten(1)
