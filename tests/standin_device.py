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

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from standin_backend import Backend, backend_registration
from standin_counts import INDEXING, Counts, add, count, implicit, in_terms_of_others, run, views
from standin_mixing import among, refuse_mixture
from torch import Tensor

__all__ = ["NAME", "Counts", "StandinTensor", "count", "parameters_on_the_device", "without_float64"]

NAME = "standin"
_SET = torch.ops.aten.set_.source_Storage_storage_offset
_META = torch._C.DispatchKeySet(torch._C.DispatchKey.Meta)
_OWN = torch._C.DispatchKeySet(torch._C.DispatchKey.PrivateUse1)
# There is no memory behind the storage of a tensor; with so many bytes it may get any shape in place.
_ENDLESS = 2**60
_COPIES = {"aten::_to_copy", "aten::copy_", "aten::_copy_from"}
# Of a subclass of Tensor torch would compute the vectors too, by another algorithm.
_VALUES_ALONE = {
    torch.linalg.eigvalsh: lambda matrix: torch.ops.aten._linalg_eigh(matrix, "L", False)[0],
    torch.linalg.svdvals: lambda matrix: torch.ops.aten._linalg_svd(matrix, False, False)[1],
}
_lacking: set[torch.dtype] = set()


class StandinTensor(torch.Tensor):
    """A tensor of the device, whose numbers are in the CPU tensor ``inner``."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> "StandinTensor":
        if inner.dtype in _lacking:
            raise TypeError(f"the {NAME} device has no {inner.dtype}")
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
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            return _VALUES_ALONE.get(func, func)(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _on_the_device(func, args, kwargs or {})

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


@contextmanager
def without_float64() -> Iterator[None]:
    """Within it the device has no float64, like Apple's."""
    _lacking.add(torch.float64)
    try:
        yield
    finally:
        _lacking.remove(torch.float64)


def _on_the_device(func: Any, args: Any, kwargs: Any) -> Any:
    """Run an operation of the device: check what it is given, compute on the CPU, and give its results the device."""
    if implicit(func):
        return in_terms_of_others(func, args, kwargs)
    name = func._schema.name
    flat = list(_flat((*args, *kwargs.values())))
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
        if name in INDEXING and isinstance(args[0], StandinTensor):
            given = args[1]
            args, others = _uploaded_indices(args), [value for value in others if not among(value, given)]
        refuse_mixture(func, args, kwargs, others, f"{NAME}:0")
    if not stays and name not in _COPIES and not (name.endswith("_like") or name.startswith("aten::new_")):
        raise RuntimeError(f"{func} from {NAME} to {place} is unknown to the stand-in")
    args = tuple(_mapped(_inner, value) for value in args)
    kwargs = {key: _mapped(_inner, value) for key, value in kwargs.items()}
    results = func(*args, **kwargs) if name in _COPIES else run(func, args, kwargs)

    def outside(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if (own := ours.get(id(value))) is not None:
            if own.shape != value.shape or own.stride() != value.stride():
                # As ``squeeze_`` or an output argument may: let torch know.
                place = value.shape, value.stride(), value.storage_offset()
                torch.ops.aten.as_strided_.default.redispatch(_OWN, own, *place)
            return own
        if not stays:
            return value
        made = _wrapped(value)
        if views(func):
            # What torch composes of views asks whether two tensors share their storage.
            place = made.storage_offset(), made.shape, made.stride()
            _SET.redispatch(_META, made, next(iter(ours.values())).untyped_storage(), *place)
        return made

    return _mapped(outside, results)


def _wrapped(inner: Tensor) -> StandinTensor:
    if inner.is_inference() == torch.is_inference_mode_enabled():
        return StandinTensor(inner)
    with torch.inference_mode(inner.is_inference()):  # a view is what its base is
        return StandinTensor(inner)


def _flat(values: Any) -> Iterator[Any]:
    for value in values:
        if type(value) in (list, tuple):
            yield from _flat(value)
        else:
            yield value


def _mapped(change: Callable[[Any], Any], value: Any) -> Any:
    return type(value)(_mapped(change, part) for part in value) if type(value) in (list, tuple) else change(value)


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
    add(kind, {"wait": "to the host", "upload": "to the device"}.get(kind, name.removeprefix("aten::")))
    return target


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
            add("upload", "to the device")
            indices.append(_wrapped(part))
    return (args[0], indices, *args[2:])


def _register() -> list[torch.library.Library]:
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=Backend())
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
