"""Where numbers go while a network trains: a SummaryWriter of TensorBoard, or any function of a mapping."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

__all__ = ["Log", "logger"]


@runtime_checkable
class _Writer(Protocol):
    def add_scalar(self, tag: str, scalar_value: Any, global_step: Any = ...) -> Any: ...


Log = Callable[[dict[str, float]], Any] | _Writer


def logger(log: Log) -> Callable[[int, Mapping[str, float]], None]:
    """A function of an epoch and numbers. Raises: TypeError if ``log`` is neither a writer nor a function."""
    if isinstance(log, _Writer):
        writer = log

        def write(epoch: int, values: Mapping[str, float]) -> None:
            for name, value in values.items():
                writer.add_scalar(name, value, epoch)

        return write
    if not callable(log):
        raise TypeError(f"log must be a SummaryWriter or a function of a dict, but it is a {type(log).__name__}.")
    function = log
    return lambda epoch, values: function({"epoch": epoch, **values})
