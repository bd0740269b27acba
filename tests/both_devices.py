"""The same work on the CPU and on the stand-in device: the results must be the same bit for bit."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from standin_device import NAME
from torch import Tensor

import ulpm

__all__ = ["facts", "on_both", "state_on"]

Result = TypeVar("Result")


def on_both(work: Callable[[str], Result]) -> Result:
    """What ``work(device)`` gives on the stand-in, having compared everything in it with what the CPU gives."""
    there, here = work(NAME), work("cpu")
    assert facts(there) == facts(here)
    return there


def state_on(device: str, state: ulpm.State) -> ulpm.State:
    moved = state.to(device)
    assert moved.W.device.type == device
    return moved


def facts(value: Any) -> Any:
    """All that is in a result, in a form that ``==`` compares to the last bit; only where it is is left out."""
    if isinstance(value, Tensor):
        there = value.detach().cpu().contiguous()
        return str(there.dtype), tuple(there.shape), there.reshape(-1).view(torch.uint8).numpy().tobytes()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: facts(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {name: facts(part) for name, part in value.items() if name != "device"}
    if isinstance(value, list | tuple):
        return [facts(part) for part in value]
    return repr(value)
