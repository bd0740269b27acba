"""A device for tests, called ``standin``: it computes on the CPU, obeys the rules of a GPU and counts what costs time.

A tensor of it keeps its numbers in a CPU tensor. Every operation runs there, so results are those of the CPU bit for
bit. As on CUDA, an operation refuses a CPU tensor beside one of the device, unless it is one number in an elementwise
operation, or an index. What a GPU is slow at is counted:

- *waits*: the host needs numbers of the device, such as ``item``, ``nonzero``, a boolean index or a copy to the host;
- *uploads*: copies to the device, all from pageable memory;
- *launches*: everything else that starts a kernel. Views and allocations start none. An operation that torch composes
  of others on every device, such as ``logsumexp``, counts as those; a decomposition, which is many kernels, is one.

>>> with standin_device.count() as counts:
...     torch.ones(3, device="standin").sum().item()
>>> counts.waits, counts.uploads, counts.launches
(1, 0, 2)
"""

import functools
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

if not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"):
    pytest.skip("only torch 2.9 and later let Python register a device", allow_module_level=True)

__all__ = ["NAME", "Counts", "StandinTensor", "count", "parameters_on_the_device"]

NAME = "standin"
_ROOT = Path(__file__).resolve().parent.parent
_OURS = tuple(str(_ROOT / package) + "/" for package in ("ulpm", "real_experiments", "theory_experiments"))
_OWN = torch._C.DispatchKeySet(torch._C.DispatchKey.PrivateUse1)
_IMPLICIT = torch._C.DispatchKey.CompositeImplicitAutograd
_CPU = torch._C.DispatchKeySet(torch._C.DispatchKey.CPU)

# There is no memory behind the storage of a tensor; with so many bytes it may get any shape in place.
_ENDLESS = 2**60

_COPIES = {"aten::_to_copy", "aten::copy_", "aten::_copy_from"}
_INDEXING = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_", "aten::_unsafe_index"}
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
_WHOLE = ("aten::convolution", "aten::_foreach_")
# CUDA asks at once whether these have converged.
_CHECKED = {"aten::_linalg_eigh", "aten::_linalg_svd", "aten::linalg_eig"}
_TAKING_NUMBERS = {"aten::masked_fill", "aten::masked_fill_", "aten::index_fill", "aten::index_fill_", "aten::where"}
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


class StandinTensor(torch.Tensor):
    """A tensor of the device, whose numbers are in the CPU tensor ``inner``."""

    inner: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: Tensor) -> "StandinTensor":
        own: StandinTensor = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=torch.device(NAME, 0),
            storage_size=_ENDLESS,
        )
        own.inner = inner
        return own

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _on_the_device(func, args, kwargs or {})

    # What torch does not ask of a subclass in Python by an operation.

    @property
    def data(self) -> Tensor:
        return self.detach()

    @data.setter
    def data(self, value: Tensor) -> None:
        if not isinstance(value, StandinTensor) or value.shape != self.shape:
            raise RuntimeError("the data of a tensor can only be replaced by those of another of its device and shape")
        self.inner = value.inner

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def data_ptr(self) -> int:
        return self.inner.data_ptr()

    def numpy(self, *, force: bool = False) -> Any:
        if not force:
            raise TypeError(f"can't convert a {NAME} tensor to numpy: use Tensor.cpu() first")
        return self.detach().cpu().numpy()

    def __array__(self, dtype: Any = None) -> Any:
        return self.numpy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if id(self) not in memo:
            new = self.detach().clone()
            memo[id(self)] = torch.nn.Parameter(new) if isinstance(self, torch.nn.Parameter) else new
            memo[id(self)].requires_grad_(self.requires_grad)
        copied: Tensor = memo[id(self)]
        return copied

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"{self.inner!r} on {self.device}"


@contextmanager
def parameters_on_the_device() -> Iterator[None]:
    """Let ``Module.to`` put new parameters in place of those on the CPU, as it has to for a subclass of Tensor."""
    future = torch.__future__
    before = future.get_overwrite_module_params_on_conversion()
    future.set_overwrite_module_params_on_conversion(True)
    try:
        yield
    finally:
        future.set_overwrite_module_params_on_conversion(before)


def _on_the_device(func: Any, args: Any, kwargs: Any) -> Any:
    """Run an operation of the device: check what it is given, compute on the CPU, and give its results the device."""
    if _implicit(func):
        return func._op_dk(_IMPLICIT, *args, **kwargs)
    name = func._schema.name
    flat = tree_flatten((args, kwargs))[0]
    tensors = [value for value in flat if isinstance(value, Tensor)]
    ours = {id(tensor.inner): tensor for tensor in tensors if isinstance(tensor, StandinTensor)}
    others = [tensor for tensor in tensors if not isinstance(tensor, StandinTensor)]
    for value in flat:
        if isinstance(value, torch.Generator):
            raise RuntimeError(f"Expected a '{NAME}' device type for generator but found '{value.device}': {func}")
    place = kwargs.get("device")
    stays = place is None or torch.device(place).type == NAME
    if name in _COPIES:
        stays = _count_copy(name, args, others, stays)
    elif ours and others:
        if name in _INDEXING and isinstance(args[0], StandinTensor):
            given = args[1]
            args, others = _uploaded_indices(args), [value for value in others if not _among(value, given)]
        _refuse_mixture(func, name, args, others)
    if not stays and name not in _COPIES and not (name.endswith("_like") or name.startswith("aten::new_")):
        raise RuntimeError(f"{func} from {NAME} to {place} is unknown to the stand-in")
    args, kwargs = tree_map(_inner, (args, kwargs))
    results = func(*args, **kwargs) if name in _COPIES else _run(func, args, kwargs)

    def outside(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if (own := ours.get(id(value))) is not None:
            if own.shape != value.shape or own.stride() != value.stride():
                _reshape(own)
            return own
        return _wrapped(value) if stays else value

    return tree_map(outside, results)


def _wrapped(inner: Tensor) -> StandinTensor:
    if inner.is_inference() == torch.is_inference_mode_enabled():
        return StandinTensor(inner)
    with torch.inference_mode(inner.is_inference()):  # a view is what its base is
        return StandinTensor(inner)


def _reshape(own: StandinTensor) -> None:
    """Let torch know the shape that ``inner`` has got in place, as by ``squeeze_`` or an output argument."""
    inner = own.inner
    torch.ops.aten.as_strided_.default.redispatch(_OWN, own, inner.shape, inner.stride(), inner.storage_offset())


def _inner(value: Any) -> Any:
    if isinstance(value, torch.device):
        return torch.device("cpu")
    return value.inner if isinstance(value, StandinTensor) else value


def _count_copy(name: str, args: Any, others: list[Tensor], stays: bool) -> bool:
    """Count a copy, and say whether its result is on the device."""
    if name == "aten::_to_copy":
        source, target = isinstance(args[0], StandinTensor), stays
    else:
        first, second = (isinstance(value, StandinTensor) for value in args[:2])
        source, target = (first, second) if name == "aten::_copy_from" else (second, first)
    kind = {(True, True): "launch", (True, False): "wait", (False, True): "upload"}[source, target]
    _add(kind, {"wait": "to the host", "upload": "to the device"}.get(kind, name.removeprefix("aten::")))
    return target


def _refuse_mixture(func: Any, name: str, args: Any, others: list[Tensor]) -> None:
    """Raise as CUDA does, except for one number on the CPU that is only read."""
    takes_numbers = torch.Tag.pointwise in func.tags or name in _INDEXING or name in _TAKING_NUMBERS
    written = [value for value, part in zip(args, func._schema.arguments, strict=False) if _writes(part)]
    for tensor in others:
        if tensor.ndim or not takes_numbers or _among(tensor, written):
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but found at least two devices, {NAME}:0 and "
                f"{tensor.device}: {func}"
            )


def _uploaded_indices(args: Any) -> Any:
    """The arguments of an indexing operation with its indices on the device: CUDA moves those of the CPU there.

    It first makes numbers of a mask, for which nobody waits where the mask is on the CPU.
    """
    indices: list[Tensor | None] = []
    for index in args[1]:
        if index is None or isinstance(index, StandinTensor):
            indices.append(index)
            continue
        parts = index.nonzero().unbind(1) if index.dtype in (torch.bool, torch.uint8) else [index]
        for part in parts:
            _add("upload", "to the device")
            indices.append(_wrapped(part))
    return (args[0], indices, *args[2:])


def _among(value: Tensor, values: Any) -> bool:
    return any(value is other for other in values)


def _writes(argument: Any) -> bool:
    return argument.alias_info is not None and argument.alias_info.is_write


class _Parts(TorchDispatchMode):
    """Within it the operations that one is composed of are counted, where they compute on the CPU."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: Any) -> Any:
    """Run an operation on CPU tensors, and count it, or its parts if torch composes it of others on every device."""
    if _implicit(func) or _composed(func):
        with _Parts():
            return (
                func._op_dk(_IMPLICIT, *args, **kwargs) if _implicit(func) else func.redispatch(_CPU, *args, **kwargs)
            )
    name = func._schema.name
    if _waits(name, args, kwargs):
        _add("wait", name.removeprefix("aten::"))
    elif not _free(func):
        _add("launch", name.removeprefix("aten::"))
    if name in _CHECKED:
        _add("wait", "convergence of " + name.removeprefix("aten::"))
    # A number that torch had made a tensor of is a number again here, for which another overload is meant.
    meant = func.overloadpacket if _has_number_for_tensor(func, args) else func
    return meant(*args, **kwargs)


def _has_number_for_tensor(func: Any, args: Any) -> bool:
    pairs = zip(args, func._schema.arguments, strict=False)
    return any(isinstance(value, bool | int | float) and str(part.type) == "Tensor" for value, part in pairs)


@functools.cache
def _implicit(func: Any) -> bool:
    """Whether torch writes an operation in terms of others before it asks for a device, unless in inference mode."""
    return torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd")


@functools.cache
def _composed(func: Any) -> bool:
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    name = func.name()
    parts = has(name, "CompositeExplicitAutograd") and not has(name, "CPU")
    return parts and not _views(func) and not func._schema.name.startswith(_WHOLE)


@functools.cache
def _views(func: Any) -> bool:
    return any(value.alias_info is not None and not value.alias_info.is_write for value in func._schema.returns)


@functools.cache
def _free(func: Any) -> bool:
    """Whether an operation starts no kernel."""
    changes_shape = torch.Tag.inplace_view in func.tags
    return _views(func) or changes_shape or func._schema.name.startswith(_WITHOUT_KERNELS)


def _waits(name: str, args: Any, kwargs: Any) -> bool:
    if name in _INDEXING:
        masks = [index for index in args[1] if index is not None and index.dtype in (torch.bool, torch.uint8)]
        # One number for one mask is a masked fill.
        return bool(masks) and not (name != "aten::index" and len(args[1]) == 1 and args[2].numel() == 1)
    if name == "aten::repeat_interleave":
        return kwargs.get("output_size") is None
    return name in _WAITING


def _add(kind: str, name: str) -> None:
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


class _Backend:
    """What torch asks of the module of a device."""

    def is_available(self) -> bool:
        return True

    is_initialized = is_available

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        pass

    def device_count(self) -> int:
        return 1

    def current_device(self) -> int:
        return 0

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


def _register() -> list[torch.library.Library]:
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=_Backend())
    everything, copies = torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")
    # Factory functions, which have no tensor to go by, and what torch does beneath subclasses.
    everything.fallback(lambda func, *args, **kwargs: _on_the_device(func, args, kwargs), "PrivateUse1")

    def copy_from(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
        result: Tensor = _on_the_device(torch.ops.aten.copy_.default, (target, source), {})
        return result

    copies.impl("_copy_from", copy_from, "PrivateUse1")
    # An optimiser updates all parameters by one operation, as on GPUs.
    sys.modules["torch.optim.optimizer"]._foreach_supported_types.append(StandinTensor)  # torch.optim hides it
    return [everything, copies]


_libraries = _register()
