"""Along which axis of what a layer gives its features lie, told by the modules that have run."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import Tensor, nn

from ulpm.metrics.head import tensors

__all__ = ["FeatureAxis", "watching_axes"]

_POOLING = (
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
    nn.modules.pooling._LPPoolNd,
)


class _Said(NamedTuple):
    """How many features a module gives, and whether they are channels [B, d, ...] and not the last axis."""

    size: int
    channels: bool


def _says(module: nn.Module, output: Tensor) -> _Said | None:
    """What a module says of its output, by its kind."""
    match module:
        case nn.modules.conv._ConvNd():
            return _Said(module.out_channels, True)
        case nn.modules.batchnorm._NormBase():
            return _Said(module.num_features, True)
        case nn.GroupNorm():
            return _Said(module.num_channels, True)
        case nn.Linear() | nn.Bilinear():
            return _Said(module.out_features, False)
        case nn.LayerNorm() | nn.RMSNorm() if len(module.normalized_shape) == 1:
            return _Said(module.normalized_shape[0], False)
        case nn.Embedding():
            return _Said(module.embedding_dim, False)
        case nn.MultiheadAttention() | nn.RNNBase():
            return _Said(output.shape[-1], False)
        case _ if isinstance(module, _POOLING):
            return _Said(output.shape[1], True)
    return None


class FeatureAxis:
    """What the modules of a network have said, in a forward pass, of where features lie.

    ``positions_first`` says that one of them takes [T, B, d], as it has ``batch_first=False``.
    """

    def __init__(self) -> None:
        self._last: _Said | None = None
        self.positions_first = False

    def clear(self) -> None:
        """Before a forward pass."""
        self._last, self.positions_first = None, False

    def is_second(self, values: Tensor) -> bool:
        """Whether values of three axes or more, given by a module that has just run, are [B, d, ...].

        Else they are [B, ..., d]. Features lie where their number fits that of the last module which has one: a network
        may turn channels into the last axis, and back. Where both axes fit, or none, they lie as that module has them.
        """
        if self._last is None:
            return values.ndim > 3
        second, last = values.shape[1] == self._last.size, values.shape[-1] == self._last.size
        return self._last.channels if second == last else second

    def note(self, module: nn.Module, _: object, output: Any) -> None:
        """A forward hook."""
        values = next(tensors(output), None)
        # Of two axes, it is about samples as a whole, as where channels are weighed.
        if values is None or values.ndim < 3:
            return
        self._last = _says(module, values) or self._last
        self.positions_first |= getattr(module, "batch_first", None) is False


@contextmanager
def watching_axes(model: nn.Module) -> Iterator[FeatureAxis]:
    """Within it, hooks on all modules of a network keep what they say of where features lie."""
    axis = FeatureAxis()
    handles = [module.register_forward_hook(axis.note) for module in model.modules()]
    try:
        yield axis
    finally:
        for handle in handles:
            handle.remove()
