"""One pass of a network over labelled batches, in which the features of its layers are kept."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ulpm import _checks
from ulpm._modes import evaluation_mode, plain_arithmetic
from ulpm.distributed import ALONE, Shard
from ulpm.metrics.batches import Batch, Unpack, device_of, own_name, predicts_next_token, run, unwrapped
from ulpm.metrics.centre import Center
from ulpm.metrics.class_labels import as_labels, class_indices, next_tokens
from ulpm.metrics.head import is_pointwise, output_error, tensors
from ulpm.metrics.kept import KeptSamples, require_finite
from ulpm.metrics.layers import Layers, WatchedLayers, chosen_layers, watching_layers
from ulpm.metrics.positions import masked, pooled, rows, valid_positions
from ulpm.metrics.probe import Probe, watching

__all__ = ["NoBatches", "Reading", "read"]


class NoBatches(ValueError):
    """There was nothing to measure."""

    def __init__(self) -> None:
        super().__init__("batches must hold at least one (inputs, labels) pair, but it is empty.")


@dataclasses.dataclass(frozen=True)
class Reading:
    """The samples of each layer, the name of the classifier, its weight W [K, d] and its bias, if it has one.

    ``by_position`` says that each position was a sample, as for a language model. Then classes without samples, most
    of a vocabulary, are left out, with their rows of W.
    """

    samples: dict[str, KeptSamples]
    classifier: str
    W: Float[Tensor, "K d"]
    bias: Float[Tensor, " K"] | None
    by_position: bool

    def metrics(
        self,
        layer: str,
        center: Center = "classes",
        means: Float[Tensor, "K d"] | None = None,
        *,
        per_class: bool = False,
        leave_out: bool = False,
    ) -> dict[str, Float[Tensor, ""] | Float[Tensor, " K"]]:
        """All metrics of a layer, about ``means`` if they are given; see :meth:`KeptSamples.metrics`.

        With ``leave_out`` classes without samples are left out, whatever a sample is.
        """
        kept, K = self.samples[layer], len(self.W)
        head = (self.W, self.bias) if layer == self.classifier else None
        among = None if means is None or not self.by_position else means.isfinite().all(1).cpu()
        with plain_arithmetic(self.W.device):
            present = kept.number_classes(K, self.by_position or leave_out, among, head)
            W = None if layer != self.classifier else self.W[present.to(self.W.device)]
            about = None if means is None else means[present.to(means.device)]
            return kept.metrics(W, center, about, present if per_class else None)

    def absent_classes(self) -> list[int]:
        """Classes without samples on any process; none where samples are positions, since they are left out."""
        if self.by_position:
            return []
        with plain_arithmetic(self.W.device):
            counts = next(iter(self.samples.values())).class_counts(len(self.W))
        absent: list[int] = torch.nonzero(counts == 0).flatten().tolist()
        return absent

    def class_means(self, layer: str) -> Float[Tensor, "K d"]:
        """μ_k, one a row, NaN for a class that is left out."""
        kept, K = self.samples[layer], len(self.W)
        with plain_arithmetic(self.W.device):
            present = kept.number_classes(K, self.by_position)
            of_present = kept.class_means()
        means = of_present.new_full((K, of_present.shape[1]), torch.nan)
        means[present.to(means.device)] = of_present
        return means


def read(
    model: nn.Module,
    batches: Iterable[Any],
    layer: nn.Module | str | None = None,
    layers: Layers | None = None,
    unpack: Unpack | None = None,
    shard: Shard = ALONE,
) -> Reading:
    """Run the model over all batches in evaluation mode and keep the features of its classifier, or of ``layers``.

    Raises: as :func:`ulpm.measure`.
    """
    device = device_of(model)
    if not (isinstance(batches, Iterable) or hasattr(batches, "__getitem__")):
        raise TypeError(f"batches must be a DataLoader or a list of batches, but a {type(batches).__name__} was given.")
    layer = own_name(model, layer)
    if isinstance(layers, list | tuple):
        layers = [own_name(model, each) for each in layers]
    model = unwrapped(model)
    names = {} if layers is None else chosen_layers(model, layers)
    shifted = unpack is None and predicts_next_token(model)
    samples: dict[str, KeptSamples] = {}
    with (
        watching(model, layer, only_head=True) as seen,
        watching_layers(model, names) as watched,
        evaluation_mode(model),
        torch.no_grad(),
    ):
        by_position = False
        for batch in (Batch.of(batch, unpack) for batch in batches):
            labels = as_labels(batch.labels)
            mask = None if batch.mask is None else batch.mask.to(device)
            if shifted and isinstance(batch.inputs, Mapping) and labels.ndim == 2:
                # What the mask leaves out is no token to predict, though one position earlier there is one.
                labels = next_tokens(masked(_checks.whole_numbers("y", labels), mask))
            watched.expect(mask, len(labels) if labels.ndim else 1, labels.ndim > 1)
            run(model, batch.inputs, device)
            with plain_arithmetic(device):
                found = _samples(seen, watched, labels, mask)
            if not samples:
                _check_outputs(found[0].labels, len(seen.classifier), layer is None)
                by_position = found[0].by_position
                samples = {each.name: KeptSamples(each.name, device, shard) for each in found}
            for each in found:
                samples[each.name].add(each.features, each.labels, each.predicted)
        if not samples:
            raise NoBatches
        W, bias, name = seen.classifier, seen.bias, seen.name
    if len(W) < 2:
        raise ValueError(
            f"neural collapse needs at least two classes, but the classifier {name!r} has one output: give a network "
            "with an output a class."
        )
    require_finite("W", W, name)
    _check_outputs(samples[name].labels, len(W), layer is None)
    W = W.float() if W.dtype in (torch.float16, torch.bfloat16) else W
    for kept in samples.values():
        kept.check(len(W))
    if layers is not None:
        samples = {each: samples[each] for each in names.values()}
    return Reading(samples, name, W if _checks.has_float64(W.device) else W.cpu(), bias, by_position)


@dataclasses.dataclass(frozen=True)
class _Samples:
    """Rows of a layer in one batch, those labelled −100 left out."""

    name: str
    features: Float[Tensor, "n d"]
    labels: Int[Tensor, " n"]
    predicted: Int[Tensor, " n"] | None
    by_position: bool


def _samples(seen: Probe, watched: WatchedLayers, labels: Tensor, mask: Tensor | None) -> list[_Samples]:
    """The samples of a batch, first those of the classifier."""
    head, h, z = seen._seen()
    if z.ndim < 2 or not z.shape[-1]:
        raise ValueError(
            f"layer {seen.name!r} must give logits [B, K], one row a sample, but it gave {list(z.shape)}: give "
            "batches of samples to a model that runs it on all of a batch at once."
        )
    first = is_pointwise(head)
    size = (*z.shape[:1], *z.shape[2:], z.shape[1]) if first else tuple(z.shape)
    y = class_indices(labels, size)
    if z.ndim == 2 and y.shape == (len(z), 1):
        y = y.flatten()  # a column of labels, one a sample
    by_position = y.ndim > 1
    if not by_position and z.ndim > 2:
        h, z = (pooled(h, first), pooled(z, first)) if first else _as_returned(seen, h, z, mask)
    h, z = rows(h, first, y), rows(z, first, y)
    valid, at_positions = valid_positions(y, mask), y
    y = y.flatten()
    everyone = bool(valid.all())

    def those(values: Tensor) -> Tensor:
        return values if everyone else values[valid.to(values.device)]

    found = [_Samples(seen.name, those(h), those(y), those(z.argmax(1)), by_position)]
    for layer, name in watched.names.items():
        if layer is head:
            continue
        values, first = watched.values(layer)
        if not by_position:
            values = pooled(values, first, mask)
        features = rows(values, first, at_positions)
        found.append(_Samples(name, those(features), found[0].labels, None, by_position))
    return found


def _as_returned(seen: Probe, h: Tensor, z: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Of features and logits at all tokens, those that the model returned, at one token of each sample, or their mean.

    Raises: ValueError if the model returned no logits [B, K], or others.
    """
    returned = next((t for t in tensors(seen._returned) if t.shape == (len(z), z.shape[-1])), None)
    if z.ndim != 3 or returned is None:
        raise ValueError(f"logits must have shape [B, K], one row a sample, but it is {list(z.shape)}.")
    token = (z - returned[:, None]).abs().amax(2).argmin(1)
    sample = torch.arange(len(z), device=z.device)
    for features, logits in ((h[sample, token], z[sample, token]), (pooled(h, False, mask), pooled(z, False, mask))):
        if output_error(logits, returned) == 0.0:
            return features, logits
    raise ValueError(
        f"layer {seen.name!r} gives logits at each token, but the model returns neither those of one token nor their "
        "mean: pool the features before the classifier, or name another one with layer=..."
    )


def _check_outputs(labels: Int[Tensor, " n"], outputs: int, last: bool) -> None:
    """Refuse labels that count from 1, and a layer that ran last but is no classifier, such as a second head."""
    if not labels.numel() or int(labels.max()) < outputs:
        return
    low, high = int(labels.min()), int(labels.max())
    if low >= 1 and high == outputs:
        raise ValueError(
            f"labels must lie in 0 … {outputs - 1}, the outputs of the classifier, but they lie in {low} … {high}: "
            "subtract 1 if they count from 1."
        )
    if last:
        raise ValueError(
            f"labels go up to {high}, but the linear layer that ran last has only {outputs} outputs: "
            "name the classifier with layer=..."
        )
