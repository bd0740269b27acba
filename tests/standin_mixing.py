"""Which CPU tensors an operation of the stand-in takes beside its own: those that CUDA takes."""

from typing import Any

import torch
from standin_counts import INDEXING
from torch import Tensor

__all__ = ["among", "refuse_mixture"]

_TAKING_NUMBERS = {"aten::masked_fill", "aten::masked_fill_", "aten::index_fill", "aten::index_fill_", "aten::where"}


def refuse_mixture(func: Any, args: Any, kwargs: Any, others: list[Tensor], device: str) -> None:
    """Raise as CUDA does, except for one number on the CPU that is only read."""
    name = func._schema.name
    takes_numbers = torch.Tag.pointwise in func.tags or name in INDEXING or name in _TAKING_NUMBERS
    given = dict(zip((part.name for part in func._schema.arguments), args, strict=False)) | kwargs
    written = [given.get(part.name) for part in func._schema.arguments if _writes(part)]
    for tensor in others:
        if tensor.ndim or not takes_numbers or among(tensor, written):
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but found at least two devices, {device} and "
                f"{tensor.device}: {func}"
            )


def among(value: Tensor, values: Any) -> bool:
    return any(value is other for other in values)


def _writes(argument: Any) -> bool:
    return argument.alias_info is not None and argument.alias_info.is_write
