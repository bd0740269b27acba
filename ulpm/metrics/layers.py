"""Layers of a network that are measured beside its classifier."""

import difflib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ulpm import _checks
from ulpm.metrics.axes import FeatureAxis, watching_axes
from ulpm.metrics.head import tensors
from ulpm.metrics.positions import fits, pooled
from ulpm.metrics.probe import plain_attention

__all__ = ["Layers", "WatchedLayers", "chosen_layers", "watching_layers"]

# Names, or a kind of layer.
Layers = Sequence[str] | type[nn.Module]


def chosen_layers(model: nn.Module, layers: Layers) -> dict[nn.Module, str]:
    """The modules that are named, or all of a kind, with their names in ``named_modules()`` of the model.

    Raises: TypeError for anything else; ValueError for a name that is none, or a kind of which there is none.
    """
    named = dict(model.named_modules())
    if isinstance(layers, type) and issubclass(layers, nn.Module):
        found = {module: name for name, module in named.items() if isinstance(module, layers)}
        if not found:
            raise ValueError(f"layers must be a kind of module in the model, but it has no {layers.__name__}.")
        return found
    if isinstance(layers, str) or not isinstance(layers, Sequence) or not all(isinstance(n, str) for n in layers):
        raise TypeError(
            f"layers must be a list of names such as ['layer4', 'fc'], or a class such as nn.Linear, not "
            f"{_checks.shown(layers)}."
        )
    unknown = [name for name in layers if name not in named]
    if unknown or not layers:
        near = difflib.get_close_matches(unknown[0], named, n=3) if unknown else []
        names = ", ".join(near or [name for name in list(named)[:6] if name])
        raise ValueError(f"layers must be names in named_modules(), such as {names}, but {unknown or layers} is not.")
    return {named[name]: name for name in layers}


class WatchedLayers:
    """What each layer gave in the latest forward pass: pooled, or as it was where ``by_position`` says so."""

    def __init__(self, names: dict[nn.Module, str], axis: FeatureAxis) -> None:
        self.names = names
        self._axis = axis
        self._mask: Tensor | None = None
        self._samples, self._whole = 0, False
        self._warned: set[str] = set()
        self.latest: dict[nn.Module, tuple[Tensor, bool]] = {}

    def expect(self, mask: Tensor | None, samples: int, whole: bool) -> None:
        """Before a forward pass: the mask of its tokens, its samples, and whether labels may be those of positions."""
        self._mask, self._samples, self._whole = mask, samples, whole
        self._axis.clear()
        self.latest.clear()

    def values(self, layer: nn.Module) -> tuple[Tensor, bool]:
        """What a layer gave, and whether channels come first. Raises: ValueError if it did not run."""
        if layer not in self.latest:
            raise ValueError(f"layer {self.names[layer]!r} did not run in a forward pass: choose layers that do.")
        return self.latest[layer]

    def _record(self, layer: nn.Module, _: object, output: Any) -> None:
        values = next(tensors(output), None)
        if values is None or values.ndim < 2:
            raise ValueError(f"layer {self.names[layer]!r} must give features [B, ...]: choose another one.")
        values = self._samples_first(values.detach(), self.names[layer])
        first = values.ndim > 2 and self._axis.is_second(values)
        self._warn_of_padding(self.names[layer], values, first)
        # A copy, or something new: the model may go on to change it in place.
        kept = values.clone() if self._whole or values.ndim == 2 else pooled(values, first, self._mask)
        self.latest[layer] = (kept, first)

    def _warn_of_padding(self, name: str, values: Tensor, first: bool) -> None:
        """Say, once a layer, that its positions are others than those of a mask that leaves some out."""
        mask = self._mask
        if mask is None or values.ndim != 3 or fits(mask, values, first) or name in self._warned:
            return
        if bool((mask == 0).any()):
            self._warned.add(name)
            warnings.warn(
                f"layer {name!r} has {values.shape[2 if first else 1]} positions and attention_mask {mask.shape[1]}: "
                "its features are means over all its positions, padding included.",
                stacklevel=2,
            )

    def _samples_first(self, values: Tensor, name: str) -> Tensor:
        """[B, T, d] of [T, B, d], which modules with ``batch_first=False`` give. Raises: ValueError where T is B."""
        if values.ndim != 3 or self._samples < 2 or values.shape[1] != self._samples:
            return values
        if len(values) != self._samples:
            # Not windows of images, whose number may be any.
            return values.transpose(0, 1) if self._axis.may_have_positions_first else values
        if self._axis.positions_first:
            raise ValueError(
                f"layer {name!r} gives {list(values.shape)} in a network with batch_first=False, which does not say "
                "which axis holds the samples: give batches of another size than the number of positions."
            )
        return values


@contextmanager
def watching_layers(model: nn.Module, names: dict[nn.Module, str]) -> Iterator[WatchedLayers]:
    """Within it, hooks keep what these layers give; of a layer that runs several times in a pass, the last."""
    if not names:
        yield WatchedLayers(names, FeatureAxis())
        return
    # Its hooks come first, so that a layer has said where its features lie when it is recorded.
    with plain_attention(), watching_axes(model) as axis:
        seen = WatchedLayers(names, axis)
        handles = [module.register_forward_hook(seen._record) for module in names]
        try:
            with torch.no_grad():
                yield seen
        finally:
            for handle in handles:
                handle.remove()
