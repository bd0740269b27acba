"""Measure the neural collapse of any torch network in one pass over labelled batches."""

from collections.abc import Iterable
from typing import Any, overload

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ulpm import _checks
from ulpm.metrics.absent import Absent, leaves_out
from ulpm.metrics.batches import Unpack
from ulpm.metrics.centre import Center
from ulpm.metrics.few_samples import few_sample_nc1, warn_of_single_samples
from ulpm.metrics.kept import CENTRE_ACCURACY
from ulpm.metrics.layers import Layers
from ulpm.metrics.reading import read
from ulpm.metrics.unrounded import unrounded_nc1

__all__ = ["measure"]

Measured = Float[Tensor, ""] | Float[Tensor, " K"]


@overload
def measure(
    model: nn.Module,
    batches: Iterable[Any],
    layer: nn.Module | str | None = None,
    center: Center = "classes",
    *,
    means: Float[Tensor, "K d"] | None = None,
    layers: None = None,
    corrected: bool = False,
    per_class: bool = False,
    absent: Absent = "refuse",
    unpack: Unpack | None = None,
) -> dict[str, Measured]: ...


@overload
def measure(
    model: nn.Module,
    batches: Iterable[Any],
    layer: nn.Module | str | None = None,
    center: Center = "classes",
    *,
    means: None = None,
    layers: Layers,
    corrected: bool = False,
    per_class: bool = False,
    absent: Absent = "refuse",
    unpack: Unpack | None = None,
) -> dict[str, dict[str, Measured]]: ...


def measure(
    model: nn.Module,
    batches: Iterable[Any],
    layer: nn.Module | str | None = None,
    center: Center = "classes",
    *,
    means: Float[Tensor, "K d"] | None = None,
    layers: Layers | None = None,
    corrected: bool = False,
    per_class: bool = False,
    absent: Absent = "refuse",
    unpack: Unpack | None = None,
) -> dict[str, Measured] | dict[str, dict[str, Measured]]:
    """All metrics of :func:`ulpm.neural_collapse` for a network, in one pass over (inputs, labels) batches.

    The model runs on its own device in evaluation mode (batch norm uses its running statistics) and without gradients;
    each submodule gets its training flag back. One in DataParallel, DistributedDataParallel or torch.compile is
    measured without these. Features are kept in main memory in their own dtype, since nc1_distance and nc4_mismatch
    need the final class means; the latter compares them with the argmax of the logits that the layer gave, bias
    included. Arithmetic is in float64.

    A batch is a pair (inputs, labels), or a mapping with the key ``labels`` whose other entries are keyword arguments
    of the model, as Hugging Face has them. Labels are class indices [B], or one-hot [B, K]; −100 marks what is no
    sample. Labels [B, T] make each position a sample, and classes without samples are then left out, with their rows of
    W. Those of a causal language model of transformers are shifted by one position, as its loss does.

    With ``means``, class means of other data as ``ClassMoments.class_means`` gives them, these stand for μ_k in every
    formula: test data about the class means of training data. Then h̄ = N⁻¹ Σ_k n_k μ_k, with counts of these data.

    With ``layers``, names or a class such as ``nn.Linear``, the result is a mapping from the name of each layer to its
    metrics. Of the classifier, these are all of them. Other layers have no classifier row, so what needs W is left out:
    nc1_* and nc2_*_means stay. Their features are their outputs, [B, d, ...] and [B, ..., d] being averaged over
    positions, in sequences over those of ``attention_mask``; a warning says where it does not fit. Each has
    ``ncc_accuracy`` as well, the share of samples whose nearest class mean is that of their own class.

    A warning names a class with one sample: its deviation from its own mean is 0 whatever the network does.

    Args:
        model: The network, a torch module.
        batches: A DataLoader or another iterable of batches. Inputs are whatever the model takes.
        layer: The classifier, a submodule or its dotted name; by default the linear layer that runs last. See
            :func:`probe`.
        center: What stands for μ_G, as in :func:`ulpm.neural_collapse`.
        means: Vectors [K, d], float32 or float64, that stand for the class means, or None.
        layers: Layers to measure, by their names, or all of a class; None is the classifier alone.
        corrected: Whether to add the keys of :func:`ulpm.metrics.few_sample_nc1`, for few samples a class, and of
            :func:`ulpm.metrics.unrounded_nc1`, for features in bfloat16 or float16.
        per_class: Whether to add the values of the single classes as ``KEY_per_class``, and the class-balanced nc1, as
            in :func:`ulpm.neural_collapse`.
        absent: "refuse" a class without samples, or "leave out" such classes, as in :func:`ulpm.neural_collapse`.
        unpack: A function that makes (inputs, labels) or (inputs, labels, mask) of a batch of another form.

    Returns:
        A mapping from keys to float64 scalars, and to vectors [K] for the values of single classes. With ``layers`` a
        mapping from the name of each layer to such a mapping; names are those in the network without wrappers ("x",
        also where ``layers`` has "module.x"), so that they do not depend on these. All are dimensionless.

    Raises:
        TypeError: As :func:`probe`; for batches of another form, and labels that are not integers.
        ValueError: As :func:`probe`; for no batches, a label outside 0 … K−1, a class without samples, entries that are
            not finite, a layer that is not there, soft labels, or means that do not fit.

    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    >>> batches = [(torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])) for _ in range(5)]
    >>> metrics = ulpm.measure(model, batches)
    >>> len(metrics), 0 <= float(metrics["nc4_mismatch"]) <= 1
    (18, True)
    >>> list(ulpm.measure(model, batches, layers=["1", "2"])["1"])[-2:]
    ['nc2_etf_means', 'ncc_accuracy']
    """
    corrected, per_class = _checks.flag("corrected", corrected), _checks.flag("per_class", per_class)
    if layers is not None and (means is not None or corrected):
        raise ValueError("means and corrected are for the classifier alone: leave them out with layers=...")
    if means is not None:
        _checks.floating("means", means)
    leave_out = leaves_out(absent)
    reading = read(model, batches, layer, layers, unpack)
    if layers is not None:
        return {
            name: reading.metrics(name, center, per_class=per_class, leave_out=leave_out) for name in reading.samples
        }
    kept = reading.samples[reading.classifier]
    if means is not None and means.shape != reading.W.shape:
        raise ValueError(
            f"means must have shape {list(reading.W.shape)}, one class mean a row, "
            f"but its shape is {list(means.shape)}."
        )
    metrics = reading.metrics(reading.classifier, center, means, per_class=per_class, leave_out=leave_out)
    del metrics[CENTRE_ACCURACY]
    if means is None and not reading.by_position:
        warn_of_single_samples(torch.bincount(kept.labels, minlength=len(reading.W)))
    if not corrected:
        return metrics
    with torch.no_grad():
        moments = kept.moments(means)
        return metrics | few_sample_nc1(moments, center) | unrounded_nc1(moments, center)
