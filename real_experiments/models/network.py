"""What a network of the experiments is: its name, its title and how it is built."""

import dataclasses
from collections.abc import Callable

from torch import nn

__all__ = ["Network"]


@dataclasses.dataclass(frozen=True)
class Network:
    """A network that ``--model`` knows by its ``name`` and that figures call by its ``title``.

    ``build(num_classes, channels, width, bias)`` makes it, with any weights: ``num_classes`` outputs, images of so many
    ``channels``, and a size that grows with ``width``, the number of channels of the first layer. It is a module whose
    last ``torch.nn.Linear`` is its attribute ``classifier``, which has a bias only if ``bias``.
    """

    name: str
    title: str
    build: Callable[[int, int, int, bool], nn.Module]
