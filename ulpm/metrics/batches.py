"""What a batch of a data loader holds, and how it is given to a model."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ulpm import _checks

__all__ = ["IGNORED", "Batch", "Unpack", "device_of", "own_name", "predicts_next_token", "run", "unwrapped"]

IGNORED = -100
"""The label of what is no sample, as the losses of torch have it."""

# batch → (inputs, labels), or (inputs, labels, mask).
Unpack = Callable[[Any], Sequence[Any]]

_NAMED = 4

_LABEL_KEYS = ("labels", "label")
_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)


@dataclasses.dataclass(frozen=True)
class Batch:
    """``inputs`` as the model takes them (a mapping holds keyword arguments), ``labels`` in any form that
    :func:`ulpm.metrics.class_labels.class_indices` reads, and a ``mask`` [B, T] of positions, not 0 where there is one.
    """

    inputs: Any
    labels: Any
    mask: Tensor | None = None

    @classmethod
    def of(cls, batch: Any, unpack: Unpack | None = None) -> "Batch":
        """Read a pair (inputs, labels), or a mapping with the key ``labels``, or whatever ``unpack`` reads.

        Raises: TypeError with one sentence for anything else.
        """
        if unpack is not None:
            if not callable(unpack):
                raise TypeError(f"unpack must be a function batch → (inputs, labels), not {_checks.shown(unpack)}.")
            return cls._of_parts(unpack(batch))
        if isinstance(batch, Mapping):
            key = next((key for key in _LABEL_KEYS if key in batch), None)
            if key is None:
                keys = ", ".join(map(str, batch))
                raise TypeError(
                    f"a batch that is a mapping must have the key 'labels', but its keys are {keys}: "
                    "give unpack=, a function batch → (inputs, labels)."
                )
            return cls._of_parts(({name: batch[name] for name in batch if name != key}, batch[key]))
        if isinstance(batch, Sequence) and len(batch) == 2 and (hasattr(batch[0], "to") or _is_group(batch[0])):
            return cls._of_parts(batch)
        raise TypeError(
            f"batches must hold pairs (inputs, labels) of tensors, but one is {_named(batch)}: "
            "give unpack=, a function batch → (inputs, labels)."
        )

    @classmethod
    def _of_parts(cls, parts: Any) -> "Batch":
        if not (isinstance(parts, tuple | list) and len(parts) in (2, 3)):
            raise TypeError(f"unpack must return (inputs, labels) or (inputs, labels, mask), not {_named(parts)}.")
        inputs, labels = parts[:2]
        mask = parts[2] if len(parts) == 3 else inputs.get("attention_mask") if isinstance(inputs, Mapping) else None
        return cls(inputs, labels, mask if isinstance(mask, Tensor) and mask.ndim == 2 else None)


def run(model: nn.Module, inputs: Any, device: torch.device) -> Any:
    """What the model returns for inputs moved to its device: ``model(**inputs)`` of a mapping, ``model(*inputs)`` of a
    tuple or list.
    """
    moved = _moved(inputs, device)
    if isinstance(moved, Mapping):
        return model(**moved)
    return model(*moved) if isinstance(moved, tuple | list) else model(moved)


def unwrapped(model: nn.Module) -> nn.Module:
    """The module itself, without DataParallel, DistributedDataParallel and torch.compile around it.

    Its weights are the same, its names have no prefix, and its forward pass speaks to no other process.
    """
    while True:
        inner = model.module if isinstance(model, _WRAPPERS) else getattr(model, "_orig_mod", None)
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def own_name(model: nn.Module, name: Any) -> Any:
    """The name of a submodule in ``unwrapped(model)``, also where it is that in the model as it was given, which has
    the prefixes of what is around it; anything else as it is.
    """
    if not isinstance(name, str):
        return name
    module = dict(model.named_modules()).get(name)
    return next((own for own, each in unwrapped(model).named_modules() if each is module), name)


def device_of(model: nn.Module) -> torch.device:
    """Where the model is. Raises: TypeError if it is no torch module, or has no numbers."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, but a {type(model).__name__} was given.")
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    if device.type == "meta":
        raise TypeError(
            "model must have numbers, but its parameters are on the device meta, which has none: load them."
        )
    return device


def predicts_next_token(model: nn.Module) -> bool:
    """Whether this is a causal language model of transformers, which shifts the labels by one position itself.

    The logits at position t are of the token at t + 1, while the labels of a batch are the tokens themselves.
    """
    if not hasattr(model, "loss_type") or not callable(getattr(model, "get_output_embeddings", None)):
        return False
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False) or model.get_output_embeddings() is None:  # type: ignore[operator]
        return False
    return model.loss_type is None or getattr(model.loss_function, "__name__", "") == "ForCausalLMLoss"


def _moved(inputs: Any, device: torch.device) -> Any:
    if hasattr(inputs, "to"):
        return inputs.to(device)
    if isinstance(inputs, Mapping):
        return {name: _moved(value, device) for name, value in inputs.items()}
    if isinstance(inputs, tuple | list):
        return [_moved(value, device) for value in inputs]
    return inputs


def _is_group(inputs: Any) -> bool:
    """Whether these are several inputs of a model, by name or by place, at least one of them a tensor."""
    values: Iterable[Any] = inputs.values() if isinstance(inputs, Mapping) else inputs
    return isinstance(inputs, Mapping | tuple | list) and any(isinstance(value, Tensor) for value in values)


def _named(thing: object) -> str:
    kind = f"a {type(thing).__name__}"
    if not isinstance(thing, Sequence):
        return kind
    parts = ", ".join(type(each).__name__ for each in thing[:_NAMED]) if isinstance(thing, tuple | list) else ""
    return f"{kind} of {len(thing)}" + (f" ({parts}{', …' if len(thing) > _NAMED else ''})" if parts else "")
