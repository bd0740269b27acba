"""Whether a layer is the classifier of a network: z = W h + b, and z what the model returns.

A layer that only acts beside others, such as an adapter or one of two heads, has features, weight and output of its
own, and its metrics would look like any others.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

__all__ = ["affine_error", "is_pointwise", "output_error", "per_sample", "tensors"]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
# Roundings of the arithmetic that may add up between two ways to the same number.
_ROUNDINGS = 8


def is_pointwise(layer: nn.Module) -> bool:
    """Whether this is a 1×1 convolution, which is a linear layer at each position."""
    return (
        isinstance(layer, _CONVOLUTIONS)
        and layer.groups == 1
        and set(layer.kernel_size) == set(layer.stride) == {1}
        and not any(layer.padding)
    )


def per_sample(values: Shaped[Tensor, "B ..."]) -> Shaped[Tensor, "B ..."]:
    """[B, C] of [B, C, ...]: the mean over positions, which a 1×1 convolution maps to the mean of its outputs."""
    return values.flatten(2).mean(2) if values.ndim > 2 else values


def affine_error(layer: nn.Module, features: Tensor, output: Tensor) -> float:
    """max ‖z − (W h + b)‖ over samples as a share of ‖z‖, W and b the layer's own; 0 if it is rounding.

    To be called where the layer runs, so that autocast treats both alike. Infinite if W h + b cannot be computed.
    """
    weight: Any = layer.weight
    bias: Any = getattr(layer, "bias", None)
    bias = bias if isinstance(bias, Tensor) else None
    try:
        if isinstance(layer, _CONVOLUTIONS):
            expected = layer._conv_forward(features, weight, bias)
        else:
            expected = nn.functional.linear(features, weight, bias)
    except (RuntimeError, TypeError):
        return torch.inf
    if expected.shape != output.shape:
        return torch.inf
    if not output.numel():
        return 0.0
    rows, expected_rows = (z.reshape(max(len(z), 1) if z.ndim > 1 else 1, -1) for z in (output, expected))
    return _error(_on_processor(rows), _on_processor(expected_rows), _tolerance(output, expected))


def output_error(logits: Float[Tensor, "B K"], returned: object) -> float | None:
    """How far ``logits`` are from what a model returned, as a share of its size; 0 if they are that, None if unknown.

    The same up to a positive factor (a temperature) and a constant of each sample (log-softmax) counts as the same,
    since no metric sees the one and no loss the other; so do probabilities. The model may return a tensor, or a
    mapping, a sequence or an object that holds it: under the name ``logits``, or the first tensor of this shape.
    """
    found = next((each for each in tensors(returned) if each.shape == logits.shape), None)
    if found is None:
        return None
    z, output, tolerance = _on_processor(logits), _on_processor(found), _tolerance(logits, found)
    error = _error(output, z, tolerance)
    if error == 0.0:
        return 0.0
    present, floor, tiny = torch.ones_like(z, dtype=torch.bool), 0.0, torch.finfo(found.dtype).tiny
    if bool((output >= 0).all()) and bool(((output.sum(1) - 1).abs() <= tolerance).all()):
        # Probabilities: their logarithms have absolute errors, and those that underflow say nothing.
        present, floor = output > tiny, 1.0
        output = output.clamp_min(tiny).log()
    logits_centred, centred = _centred(z, present), _centred(output, present)
    size = logits_centred.square().sum()
    # A factor is one number: it must explain more than one.
    fitted = int(present.sum()) - len(z) > 1 and bool(size > 0)
    factor = float((logits_centred * centred).sum() / size) if fitted else 1.0
    if not factor > 0:
        return error
    scale = torch.maximum(output.abs() * present, factor * z.abs() * present).amax(1) + floor
    same = ((centred - factor * logits_centred).abs().amax(1) <= tolerance * scale).all()
    return 0.0 if bool(same) and int(present.sum()) > len(z) else error


def tensors(returned: object) -> Iterator[Tensor]:
    """The floating-point tensors in what a model returned, in order; of something with ``logits`` these alone."""
    if isinstance(returned, Tensor):
        if returned.is_floating_point():
            yield returned
        return
    named: Mapping[str, object] = returned if isinstance(returned, Mapping) else getattr(returned, "__dict__", {})
    logits = named["logits"] if "logits" in named else getattr(returned, "logits", None)
    if logits is not None:
        yield from tensors(logits)
    elif isinstance(returned, tuple | list):
        for each in returned:
            yield from tensors(each)
    elif isinstance(returned, Mapping) or dataclasses.is_dataclass(returned):
        for each in named.values():
            yield from tensors(each)


def _error(output: Tensor, expected: Tensor, tolerance: float) -> float:
    """The largest distance of two rows relative to the longer row, 0 if it is rounding; infinite with NaN."""
    size = torch.maximum(output.abs(), expected.abs()).amax(1)
    distance = (output - expected).abs().amax(1)
    if bool((distance <= tolerance * size).all()):
        return 0.0
    share = float((distance / size.clamp_min(torch.finfo(size.dtype).tiny)).max())
    return share if share >= 0 else torch.inf


def _on_processor(values: Tensor) -> Tensor:
    """In float64, which not every device has."""
    return values.detach().cpu().double()


def _centred(values: Tensor, present: Tensor) -> Tensor:
    """Each row minus the mean of its entries that are present, and 0 elsewhere."""
    values = values * present
    return (values - values.sum(1, keepdim=True) / present.sum(1, keepdim=True).clamp_min(1)) * present


def _tolerance(*tensors: Tensor) -> float:
    """What rounding may change, relatively: of the arithmetic, which is float32 for half formats, and of the result."""
    coarsest = max(torch.finfo(tensor.dtype).eps for tensor in tensors)
    return coarsest + _ROUNDINGS * min(coarsest, torch.finfo(torch.float32).eps)
