"""Along which axis of what a layer gives its features lie, told by the modules that have run."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ulpm.metrics.head import tensors

__all__ = ["FeatureAxis", "watching_axes"]

_OF_CHANNELS = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
    nn.modules.pooling._LPPoolNd,
    nn.Upsample,
    nn.PixelShuffle,
    nn.PixelUnshuffle,
)
_OF_THE_LAST_AXIS = (nn.Linear, nn.Bilinear, nn.Embedding, nn.MultiheadAttention, nn.RNNBase)


class _Said(NamedTuple):
    """The shape of what a module gave, but for samples, and whether its features are channels and not the last axis."""

    shape: torch.Size
    channels: bool

    @property
    def size(self) -> int:
        return self.shape[0 if self.channels else -1]

    def keeps_positions(self, shape: torch.Size) -> bool:
        """Whether values of this shape have the same positions, in the same place."""
        return shape[1:] == self.shape[1:] if self.channels else shape[:-1] == self.shape[:-1]


def _has_channels(module: nn.Module, shape: torch.Size) -> bool | None:
    """Whether features are the first axis of what a module gives, by its kind; None if that does not say it."""
    if isinstance(module, _OF_CHANNELS):
        return True
    if isinstance(module, _OF_THE_LAST_AXIS):
        return False
    if isinstance(module, nn.LayerNorm | nn.RMSNorm) and len(module.normalized_shape) == 1:
        # There are some of channels, which turn images twice in a forward pass of their own.
        return shape[-1] != module.normalized_shape[0] or (
            type(module).forward not in (nn.LayerNorm.forward, nn.RMSNorm.forward) and shape[0] == shape[-1]
        )
    return None


class FeatureAxis:
    """What the modules of a network have said, in a forward pass, of where features lie.

    ``may_have_positions_first`` says that one of them takes [T, B, d], as it has ``batch_first=False``, and
    ``positions_first`` that it has run.
    """

    def __init__(self, model: nn.Module | None = None) -> None:
        self._last: _Said | None = None
        self._channels: dict[torch.Size, bool] = {}
        self.may_have_positions_first = model is not None and any(map(_takes_positions_first, model.modules()))
        self.positions_first = False

    def clear(self) -> None:
        """Before a forward pass."""
        self._last, self.positions_first = None, False
        self._channels.clear()

    def is_second(self, values: Tensor) -> bool:
        """Whether values of three axes or more, given by a module that has just run, are [B, d, ...].

        Else they are [B, ..., d]. They lie as the latest module has them that gave values of the same shape, or else as
        the last module does if positions have stayed: channels may be concatenated or split. Otherwise features lie
        where their number fits that of the last module: a network may turn channels into the last axis, and back. Where
        both axes fit, or none, they lie as that module has them.
        """
        shape, said = values.shape[1:], self._last
        if said is None:
            return values.ndim > 3
        if shape in self._channels:
            return self._channels[shape]
        second, last = shape[0] == said.size, shape[-1] == said.size
        return said.channels if second == last or said.keeps_positions(shape) else second

    def note(self, module: nn.Module, _: object, output: Any) -> None:
        """A forward hook."""
        values = next(tensors(output), None)
        # Of two axes, it is about samples as a whole, as where channels are weighed.
        if values is None or values.ndim < 3:
            return
        shape = values.shape[1:]
        channels = _has_channels(module, shape)
        if channels is not None:
            self._last, self._channels[shape] = _Said(shape, channels), channels
        self.positions_first |= _takes_positions_first(module)


def _takes_positions_first(module: nn.Module) -> bool:
    return getattr(module, "batch_first", None) is False


@contextmanager
def watching_axes(model: nn.Module) -> Iterator[FeatureAxis]:
    """Within it, hooks on the modules of a network keep what they say of where features lie."""
    axis = FeatureAxis(model)
    # Those of TorchScript run no hooks.
    modules = [module for module in model.modules() if not isinstance(module, torch.jit.ScriptModule)]
    handles = [module.register_forward_hook(axis.note) for module in modules]
    try:
        yield axis
    finally:
        for handle in handles:
            handle.remove()
