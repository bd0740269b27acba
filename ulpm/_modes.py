"""What a caller may have switched on in torch that must not reach our numbers."""

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def plain_arithmetic(device: torch.device) -> Iterator[None]:
    """Within it, products on ``device`` keep the precision of their factors, and nothing is recorded for gradients."""
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        yield
