"""What a caller may have switched on in torch that must not reach our numbers: for a while it is off."""

import contextlib
from collections.abc import Iterator

import torch
from torch import nn


@contextlib.contextmanager
def plain_arithmetic(device: torch.device) -> Iterator[None]:
    """Within it, products on ``device`` keep the precision of their factors, and nothing is recorded for gradients."""
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        yield


@contextlib.contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Within it, ``model`` is in evaluation mode; afterwards each submodule has its own flag again, which
    ``model.train()`` would overwrite.
    """
    flags = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in flags:
            module.training = training
