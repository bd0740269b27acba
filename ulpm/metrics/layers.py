"""Layers of a network that are measured beside its classifier."""

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ulpm import _checks
from ulpm.metrics.head import tensors
from ulpm.metrics.positions import channels_first, pooled

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

    def __init__(self, model: nn.Module, names: dict[nn.Module, str]) -> None:
        self._model, self.names = model, names
        self._mask: Tensor | None = None
        self._whole = False
        self.latest: dict[nn.Module, tuple[Tensor, bool]] = {}

    def expect(self, mask: Tensor | None, whole: bool) -> None:
        """Before a forward pass: the mask of its tokens, and whether labels may be those of positions."""
        self._mask, self._whole = mask, whole
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
        values = values.detach()
        first = channels_first(layer, self._model, values, self._mask)
        # A copy, or something new: the model may go on to change it in place.
        kept = values.clone() if self._whole or values.ndim == 2 else pooled(values, first, self._mask)
        self.latest[layer] = (kept, first)


@contextmanager
def watching_layers(model: nn.Module, names: dict[nn.Module, str]) -> Iterator[WatchedLayers]:
    """Within it, hooks keep what these layers give; of a layer that runs several times in a pass, the last."""
    seen = WatchedLayers(model, names)
    handles = [module.register_forward_hook(seen._record) for module in names]
    try:
        with torch.no_grad():
            yield seen
    finally:
        for handle in handles:
            handle.remove()
