"""Counting what a GPU would have to do for operations that run on the CPU: launches, host waits and uploads."""

import functools
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["INDEXING", "Counts", "add", "count", "implicit", "in_terms_of_others", "run", "views"]

_ROOT = Path(__file__).resolve().parent.parent
_OURS = tuple(str(_ROOT / package) + "/" for package in ("ulpm", "real_experiments", "theory_experiments"))
_IMPLICIT = torch._C.DispatchKey.CompositeImplicitAutograd
_CPU = torch._C.DispatchKeySet(torch._C.DispatchKey.CPU)

INDEXING = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_", "aten::_unsafe_index"}
# What CUDA cannot answer, or size, before the device has computed it.
_WAITING = {
    "aten::_local_scalar_dense",
    "aten::nonzero",
    "aten::masked_select",
    "aten::equal",
    "aten::_unique2",
    "aten::unique_dim",
    "aten::unique_consecutive",
    "aten::bincount",
}
# What is composed of others on the CPU only.
_WHOLE = ("aten::convolution", "aten::_foreach_", "aten::copy_")
# CUDA asks at once whether these have converged.
_CHECKED = {"aten::_linalg_eigh", "aten::_linalg_svd", "aten::linalg_eig"}
_WITHOUT_KERNELS = ("aten::empty", "aten::new_empty", "aten::lift_fresh", "aten::_unsafe_view", "aten::is_same_size")


@dataclass
class Counts:
    """What has been counted: ``by_name[kind, name]`` and ``by_site[kind, name, "file:line"]``.

    The kind is "wait", "upload" or "launch"; the site is the innermost line of the project's packages that led there,
    or "elsewhere", which includes the backward pass. Counts may be subtracted from later ones.
    """

    by_site: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    @property
    def by_name(self) -> Counter[tuple[str, str]]:
        total: Counter[tuple[str, str]] = Counter()
        for (kind, name, _), times in self.by_site.items():
            total[kind, name] += times
        return total

    def of(self, kind: str) -> int:
        return sum(times for (own, *_), times in self.by_site.items() if own == kind)

    waits = property(lambda self: self.of("wait"))
    uploads = property(lambda self: self.of("upload"))
    launches = property(lambda self: self.of("launch"))

    def __sub__(self, other: "Counts") -> "Counts":
        difference = Counter(self.by_site)
        difference.subtract(other.by_site)
        return Counts(Counter({key: times for key, times in difference.items() if times}))


_counting: list[Counts] = []


@contextmanager
def count() -> Iterator[Counts]:
    """Count within the block, on every thread."""
    counts = Counts()
    _counting.append(counts)
    try:
        yield counts
    finally:
        _counting.remove(counts)


class _Parts(TorchDispatchMode):
    """Within it the operations that one is composed of are counted, where they compute on the CPU."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


def run(func: Any, args: Any, kwargs: Any) -> Any:
    """Run an operation on CPU tensors, and count it, or its parts if torch composes it of others on every device."""
    if implicit(func) or _composed(func):
        with _Parts():
            return in_terms_of_others(func, args, kwargs) if implicit(func) else func.redispatch(_CPU, *args, **kwargs)
    name = func._schema.name
    if _waits(name, args, kwargs):
        add("wait", name.removeprefix("aten::"))
    elif not _free(func):
        add("launch", name.removeprefix("aten::"))
    if name in _CHECKED:
        add("wait", "convergence of " + name.removeprefix("aten::"))
    # A number that torch had made a tensor of is a number again here, for which another overload is meant.
    meant = func.overloadpacket if _has_number_for_tensor(func, args) else func
    return meant(*args, **kwargs)


def _has_number_for_tensor(func: Any, args: Any) -> bool:
    pairs = zip(args, func._schema.arguments, strict=False)
    return any(isinstance(value, bool | int | float) and str(part.type) == "Tensor" for value, part in pairs)


@functools.cache
def implicit(func: Any) -> bool:
    """Whether torch writes an operation in terms of others before it asks for a device, unless in inference mode."""
    return torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd")


def in_terms_of_others(func: Any, args: Any, kwargs: Any) -> Any:
    """Run an operation that is ``implicit``."""
    return func._op_dk(_IMPLICIT, *args, **kwargs)


@functools.cache
def _composed(func: Any) -> bool:
    has = functools.partial(torch._C._dispatch_has_kernel_for_dispatch_key, func.name())
    composite = has("CompositeExplicitAutograd") or has("CompositeExplicitAutogradNonFunctional")
    parts = composite and not has("CPU")
    return parts and not views(func) and not func._schema.name.startswith(_WHOLE)


@functools.cache
def views(func: Any) -> bool:
    """Whether the results of an operation are views of its arguments."""
    return any(value.alias_info is not None and not value.alias_info.is_write for value in func._schema.returns)


@functools.cache
def _free(func: Any) -> bool:
    """Whether an operation starts no kernel."""
    changes_shape = torch.Tag.inplace_view in func.tags
    return views(func) or changes_shape or func._schema.name.startswith(_WITHOUT_KERNELS)


def _waits(name: str, args: Any, kwargs: Any) -> bool:
    if name in INDEXING:
        masks = [index for index in args[1] if index is not None and index.dtype in (torch.bool, torch.uint8)]
        # One number for one mask is a masked fill.
        return bool(masks) and not (name != "aten::index" and len(args[1]) == 1 and args[2].numel() == 1)
    if name == "aten::repeat_interleave":
        return kwargs.get("output_size") is None
    return name in _WAITING


def add(kind: str, name: str) -> None:
    """Count one event of a kind: wait, upload or launch."""
    if _counting:
        site = _site()
        for counts in _counting:
            counts.by_site[kind, name, site] += 1


def _site() -> str:
    frame = sys._getframe(2)
    while frame is not None:
        if (place := _place(frame.f_code.co_filename)) is not None:
            return f"{place}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return "elsewhere"


@functools.cache
def _place(file: str) -> str | None:
    return str(Path(file).relative_to(_ROOT)) if file.startswith(_OURS) else None
