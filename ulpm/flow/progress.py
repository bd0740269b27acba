"""A progress bar for long runs: the fraction done, log10 t and nc1 of the slowest replica."""

import contextlib
import math
import time
from collections.abc import Iterator

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from ulpm.flow.loop import FlowLoop

__all__ = ["ProgressBar", "progress_bar"]

_SECONDS_BETWEEN_UPDATES = 0.2


class ProgressBar:
    """Shows how far a loop is, at most a few times a second, since reading it waits for the device."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("flow", total=1.0, log10_time="-inf", nc1="")
        self._next = 0.0

    def update(self, loop: FlowLoop) -> None:
        """Redraw if the last time was long enough ago, or the loop has ended."""
        now = time.monotonic()
        if loop.running and now < self._next:
            return
        self._next = now + _SECONDS_BETWEEN_UPDATES
        under_way = loop.cohort.replicas if loop.running else torch.arange(len(loop.status))
        last = loop.recorder.last(under_way)
        self._bar.update(
            self._task,
            completed=loop.fraction_done,
            log10_time=f"{last['log_time'] / math.log(10):.4g}",
            nc1=f"{last['metrics.nc1_pinv']:.2e}",
        )


@contextlib.contextmanager
def progress_bar(show: bool) -> Iterator[ProgressBar | None]:
    """A bar on standard error, or None."""
    if not show:
        yield None
        return
    columns = (
        TextColumn("gradient flow"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("log10 t = {task.fields[log10_time]}"),
        TextColumn("nc1 = {task.fields[nc1]}"),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        yield ProgressBar(bar)
