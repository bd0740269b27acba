"""Wall-clock times of repeated work."""

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class Timing:
    """Seconds of each repetition."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The number to compare with."""
        return statistics.median(self.seconds)

    @property
    def best(self) -> float:
        """The repetition that was disturbed least."""
        return min(self.seconds)

    def __str__(self) -> str:
        """Median (least–greatest), all in one unit; a time that was taken less than three times says so."""
        name, size = unit(self.median)
        if len(self.seconds) == 1:
            return f"{digits(self.median / size)} {name} (one run)"
        spread = f"{digits(min(self.seconds) / size)}–{digits(max(self.seconds) / size)}"
        return f"{digits(self.median / size)} {name} ({spread}{'' if len(self.seconds) > 2 else '; two runs'})"


def unit(seconds: float) -> tuple[str, float]:
    """The unit that suits a time, and its size in seconds."""
    return next(((name, size) for name, size in (("s", 1.0), ("ms", 1e-3)) if seconds >= size), ("µs", 1e-6))


def digits(value: float) -> str:
    """Three digits, or all before the decimal point."""
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def seconds_text(seconds: float) -> str:
    """A time with its unit."""
    name, size = unit(seconds)
    return f"{digits(seconds / size)} {name}"


def repeat(work: Callable[[], Result], repetitions: int = 3, patience: float = 10.0) -> tuple[Timing, Result]:
    """Time ``work`` up to ``repetitions`` times, but not again once ``patience`` seconds were spent; its last result.

    The page says how often a time was taken, so that impatience is visible.
    """
    seconds: list[float] = []
    while len(seconds) < repetitions and sum(seconds) < patience:
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    return Timing(tuple(seconds)), result


def repeat_for(work: Callable[[], object], total: float, fewest: int = 5) -> Timing:
    """Time a short ``work``, after one call that does not count, until ``total`` seconds were spent on it."""
    work()
    seconds: list[float] = []
    while len(seconds) < fewest or sum(seconds) < total:
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return Timing(tuple(seconds))


def when_done(work: Callable[[], Result], device: torch.device) -> Callable[[], Result]:
    """``work`` that does not return before ``device`` has done what it was given."""
    if device.type != "cuda":
        return work

    def waited() -> Result:
        result = work()
        torch.cuda.synchronize(device)
        return result

    return waited
