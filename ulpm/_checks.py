"""Argument guards. A message says what was got, what was expected and how to mend it, in one sentence."""

import math
import numbers
import operator
from typing import Any

import numpy as np
import torch
from torch import Tensor

_LONGEST = 80


def floating(name: str, value: object) -> Tensor:
    """Return ``value`` if it is a floating-point tensor without NaN or infinity.

    Raises: TypeError for anything but a float32 or float64 tensor, ValueError for entries that are not finite.
    """
    value = real_numbers(name, value)
    if value.numel() and not _all_finite(value.detach()):
        finite(name, math.nan)
    return value


def real_numbers(name: str, value: object) -> Tensor:
    """Return ``value`` if it is a floating-point tensor, whatever its entries are.

    Raises: TypeError for anything but a float32 or float64 tensor.
    """
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a torch tensor, but a {type(value).__name__} was given: use torch.as_tensor.")
    has_numbers(name, value)
    if value.dtype not in (torch.float32, torch.float64):
        raise TypeError(
            f"{name} must have dtype float32 or float64, but it has {_dtype_name(value)}: convert it to float64 first."
        )
    return value


def finite(name: str, extreme: float) -> None:
    """Raises: ValueError if an ``extreme`` of a tensor is not finite."""
    if not math.isfinite(extreme):
        raise ValueError(
            f"{name} must be finite, but it contains NaN or infinity: look for what made them, such as a training that "
            "diverged or a division by zero."
        )


def _all_finite(value: Tensor) -> bool:
    # The extremes of a tensor with NaN are NaN, and take one pass without a copy; x − x is 0 for what is finite alone.
    low, high = torch.aminmax(value)
    return float((low - low) + (high - high)) == 0.0


def shape(name: str, value: Tensor, *expected: int | None) -> Tensor:
    """Return ``value`` if its last axes have the sizes ``expected`` (None: any size from 1 on); leading axes are free.

    Raises: ValueError with both shapes.
    """
    tail = tuple(value.shape[-len(expected) :])
    fits = len(tail) == len(expected) and all(
        got == want if want is not None else got >= 1 for got, want in zip(tail, expected, strict=True)
    )
    if not fits:
        wanted = ", ".join("≥ 1" if size is None else str(size) for size in expected)
        raise ValueError(f"{name} must have shape [..., {wanted}], but its shape is {list(value.shape)}.")
    return value


def labels(name: str, value: object, num_samples: int, num_classes: int) -> Tensor:
    """Return ``value`` as an int64 tensor [N] if it holds ``num_samples`` class indices 0 … K−1.

    Raises: TypeError if it is not an integer tensor, ValueError for a wrong shape or an index outside 0 … K−1.
    """
    value = one_a_sample(name, value, num_samples)
    if num_samples:
        lowest, highest = torch.stack(torch.aminmax(value)).tolist()
        class_indices(name, lowest, highest, num_classes)
    return value


def one_a_sample(name: str, value: object, num_samples: int) -> Tensor:
    """Return ``value`` as an int64 tensor [N], whatever its entries are.

    Raises: TypeError if it is not an integer tensor, ValueError for a wrong shape.
    """
    value = whole_numbers(name, value)
    if value.shape != (num_samples,):
        raise ValueError(f"{name} must have shape [{num_samples}], one label a sample, but it is {list(value.shape)}.")
    return value


def class_indices(name: str, lowest: float, highest: float, num_classes: int) -> None:
    """Raises: ValueError if labels from ``lowest`` to ``highest`` are not within 0 … K−1."""
    if lowest < 0 or highest >= num_classes:
        raise ValueError(
            f"{name} must lie in 0 … {num_classes - 1}, but they lie in {int(lowest)} … {int(highest)}: "
            "renumber them from 0."
        )


def whole_numbers(name: str, value: object) -> Tensor:
    """Return ``value`` as an int64 tensor if it is one of integers. Raises: TypeError if it is not."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a tensor of integers, but it is {type(value).__name__}: use torch.as_tensor.")
    if value.is_floating_point() or value.is_complex() or value.dtype == torch.bool:
        raise TypeError(
            f"{name} must be a tensor of integers, but it is {_dtype_name(value)}: store class indices as int64."
        )
    has_numbers(name, value)
    return value.long()


def integer(name: str, value: Any, minimum: int) -> int:
    """Return ``value`` as an int if it is an integer of any kind (not a bool) of at least ``minimum``.

    numpy's integers and integer tensors of one element are among them, as for indices (``operator.index``).

    Raises: TypeError if it is no integer, ValueError if it is too small.
    """
    try:
        if _is_bool(value):
            raise TypeError
        number = operator.index(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be an integer, but {shown(value)} was given.") from None
    if number < minimum:
        raise ValueError(f"{name} must be at least {minimum}, but {shown(number)} was given.")
    return number


def real(
    name: str, value: Any, *, minimum: float = -math.inf, above: float = -math.inf, below: float = math.inf
) -> float:
    """Return ``value`` as a float if it is finite, at least ``minimum``, and ``above`` < value < ``below``.

    Raises: TypeError if it is no number, ValueError if it is out of range.
    """
    if _is_bool(value) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, but {shown(value)} was given.")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not (math.isfinite(number) and minimum <= number and above < number < below):
        bounds = [f"at least {minimum:g}"] * (minimum > -math.inf)
        bounds += [f"above {above:g}"] * (above > -math.inf) + [f"below {below:g}"] * (below < math.inf)
        bounds += ["finite"] * (below == math.inf and not math.isfinite(number))
        raise ValueError(f"{name} must be {' and '.join(bounds)}, but {shown(value)} was given.")
    return number


def flag(name: str, value: object) -> bool:
    """Return ``value`` as a bool if it is True or False, also numpy's. Raises: TypeError if it is something else."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, but {shown(value)} was given.")
    return bool(value)


def instance(name: str, value: object, kind: type) -> None:
    """Raises: TypeError if ``value`` is not of this class of ulpm."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be an ulpm.{kind.__name__}, but a {type(value).__name__} was given.")


def shown(value: object) -> str:
    """A value as it is quoted in a sentence: on one line, and not too long."""
    try:
        words = " ".join(repr(value).split())
    except ValueError:  # an integer of more digits than Python prints
        words = f"a huge {type(value).__name__}"
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}…"


def device(name: str, dtype: torch.dtype = torch.float32) -> torch.device:
    """Return the torch device called ``name`` if this machine has it: the CPU, or any accelerator that torch knows.

    Raises: ValueError for an unknown name, a device that is not there, or one that has no ``dtype``.
    """
    try:
        found = torch.device(name)
        # The devices that compute have a module of torch: the device meta has none.
        if not hasattr(getattr(torch, found.type, None), "is_available"):
            raise NotImplementedError
        torch.empty(0, dtype=torch.float32, device=found)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError, ValueError) as error:
        raise ValueError(f"device {name!r} is not available here: use 'cpu', or 'cuda' on one with a GPU.") from error
    if dtype == torch.float64 and not has_float64(found):
        raise ValueError(f"device {name!r} has no float64: use float32 there, or the device 'cpu'.")
    return found


def has_float64(where: torch.device) -> bool:
    """Whether a device computes in float64: those of Apple, for example, do not."""
    try:
        torch.empty(0, dtype=torch.float64, device=where)
    except (RuntimeError, TypeError):
        return False
    return True


def computes_in_float64(where: torch.device) -> None:
    """Raises: ValueError for a device without float64, in which records, metrics and certificates are computed."""
    if not has_float64(where):
        raise ValueError(f"this is computed in float64, and the device '{where}' has only float32: use the CPU for it.")


def has_numbers(name: str, value: Tensor) -> None:
    """Raises: TypeError for a sparse tensor or one without numbers."""
    if value.layout is not torch.strided:
        raise TypeError(f"{name} must be a dense tensor, but its layout is {value.layout}: use .to_dense().")
    if value.device.type == "meta":
        raise TypeError(f"{name} must hold numbers, but it is a tensor on the device meta, which has none.")


def _is_bool(value: object) -> bool:
    return getattr(value, "dtype", None) in (np.bool_, torch.bool) or isinstance(value, bool)


def _dtype_name(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")
