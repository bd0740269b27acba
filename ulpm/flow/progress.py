"""A progress bar for long runs: the fraction done, log10 t and nc1 of the slowest replica."""

import contextlib
import importlib.util
import math
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO, cast

import torch

from ulpm._extras import needs
from ulpm._streams import Unfailing
from ulpm.flow.state import FlowState

if TYPE_CHECKING:
    import rich.progress

__all__ = ["ProgressBar", "progress_bar"]

_SECONDS_BETWEEN_UPDATES = 0.2


class ProgressBar:
    """Shows how far a run is, at most a few times a second, since reading it waits for the device."""

    def __init__(self, bar: "rich.progress.Progress") -> None:
        self._bar = bar
        self._task = bar.add_task("flow", total=1.0, log10_time="-inf", nc1="")
        self._next = 0.0

    def update(self, state: FlowState) -> None:
        """Redraw if the last time was long enough ago, or the run has ended."""
        now = time.monotonic()
        if state.running and now < self._next:
            return
        self._next = now + _SECONDS_BETWEEN_UPDATES
        under_way = state.cohort.replicas if state.running else torch.arange(len(state.codes), device="cpu")
        last = state.records.last(under_way)
        self._bar.update(
            self._task,
            completed=state.fraction_done,
            log10_time=f"{last['log_time'] / math.log(10):.4g}",
            nc1=f"{last['metrics.nc1_pinv']:.2e}",
        )


@contextlib.contextmanager
def progress_bar(show: bool) -> Iterator[ProgressBar | None]:
    """A bar on standard error, or None; in a notebook that cannot draw one, a line of text.

    Raises: ImportError with one sentence that names the extra if rich is not installed.
    """
    if not show:
        yield None
        return
    with needs("progress=True"):
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
    console = Console(file=cast(TextIO, Unfailing(sys.stderr)))
    if console.is_jupyter and importlib.util.find_spec("ipywidgets") is None:
        print("The gradient flow runs without a progress bar, which needs ipywidgets in a notebook.", file=sys.stderr)
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
    with Progress(*columns, console=console) as bar:
        yield ProgressBar(bar)
