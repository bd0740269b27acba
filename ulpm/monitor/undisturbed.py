"""A training is the same with a monitor as without: whatever a measurement draws or changes is put back."""

import contextlib
import random
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils import data

__all__ = ["batch_norms", "reestimated", "restored", "undisturbed"]

_OTHERS = (np.random.Generator, np.random.RandomState, random.Random)
_HOLDERS = (data.Dataset, data.Sampler)
# Where a loader has its sampler, and a data set others and what changes its samples.
_INSIDE = ("dataset", "datasets", "sampler", "batch_sampler", "transform", "transforms", "target_transform")
# Of a list of transforms or data sets; a longer one holds samples.
_PARTS = 1000


@contextlib.contextmanager
def undisturbed(device: torch.device, loaders: Iterable[Any]) -> Iterator[None]:
    """Within it nothing is recorded for gradients; afterwards all random generators are where they were.

    These are the generators of Python, numpy and torch (on the processor and on ``device``), and those that the loaders
    and their samplers hold: a new pass over a loader draws from them. Workers that a loader keeps from pass to pass
    have generators of their own, so that a measurement has workers of its own. What autocast has cached without
    gradients is dropped.
    """
    loaders = list(loaders)
    kept = [(loader, loader._iterator) for loader in loaders if getattr(loader, "persistent_workers", False)]
    generators = _generators(loaders)
    torch_states = [(generator, generator.get_state()) for generator in generators if _is_torch(generator)]
    numpy_states = [(g, g.bit_generator.state) for g in generators if isinstance(g, np.random.Generator)]
    legacy_states = [(g, g.get_state()) for g in generators if isinstance(g, np.random.RandomState)]
    python_states = [(g, g.getstate()) for g in generators if isinstance(g, random.Random)]
    python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 (augmentations draw from it)
    others = [] if device.type == "cpu" else [device]
    for loader, _ in kept:
        loader._iterator = None
    try:
        with torch.random.fork_rng(devices=others, device_type=device.type if others else "cuda"), torch.no_grad():
            yield
    finally:
        for loader, workers in kept:
            loader._iterator = workers
        random.setstate(python)
        np.random.set_state(of_numpy)  # noqa: NPY002
        for generator, state in torch_states:
            generator.set_state(state)
        for numpy_generator, state in numpy_states:
            numpy_generator.bit_generator.state = state
        for legacy_generator, state in legacy_states:
            legacy_generator.set_state(state)
        for python_generator, state in python_states:
            python_generator.setstate(state)
        torch.clear_autocast_cache()


def batch_norms(model: nn.Module) -> list[nn.Module]:
    """The modules with running statistics."""
    kind = nn.modules.batchnorm._NormBase
    return [module for module in model.modules() if isinstance(module, kind) and module.running_mean is not None]


@contextlib.contextmanager
def reestimated(modules: list[Any]) -> Iterator[None]:
    """Within it batch norms are in training mode and average the statistics of all batches that pass; to be used
    within :func:`restored`.
    """
    before = [(module, module.momentum, module.training) for module in modules]
    for module in modules:
        module.reset_running_stats()
        module.momentum = None  # a cumulative average
        module.training = True
    try:
        yield
    finally:
        for module, momentum, training in before:
            module.momentum, module.training = momentum, training


@contextlib.contextmanager
def restored(modules: list[nn.Module]) -> Iterator[None]:
    """Within it these modules have copies of their buffers; afterwards their own again, which nobody has touched.

    Not their values alone: a graph that waits for its backward pass would find them changed in place.
    """
    before = [(module, dict(module._buffers)) for module in modules]
    for module, buffers in before:
        module._buffers.update({name: None if b is None else b.clone() for name, b in buffers.items()})
    try:
        yield
    finally:
        for module, buffers in before:
            module._buffers.update(buffers)


def _generators(loaders: list[Any]) -> list[Any]:
    """Random generators that loaders hold, their data sets, samplers and transforms, and those inside these; each
    once.
    """
    found: dict[int, Any] = {}
    seen: set[int] = set()
    waiting = list(loaders)
    while waiting:
        holder = waiting.pop()
        if id(holder) in seen:
            continue
        seen.add(id(holder))
        if isinstance(holder, list | tuple):
            waiting += [each for each in holder if hasattr(each, "__dict__")] if len(holder) <= _PARTS else []
            continue
        for name, value in getattr(holder, "__dict__", {}).items():
            if _is_torch(value) or isinstance(value, _OTHERS):
                found[id(value)] = value
            elif name in _INSIDE or isinstance(value, _HOLDERS):
                waiting.append(value)
    return list(found.values())


def _is_torch(value: Any) -> bool:
    return isinstance(value, torch.Generator)
