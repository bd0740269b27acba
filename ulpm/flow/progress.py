"""A progress bar for long runs: the fraction done, log10 t and nc1 of the slowest replica."""

import contextlib
import importlib.util
import math
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TextIO, cast

import torch

from ulpm._extras import needs
from ulpm._streams import Unfailing
from ulpm.flow.state import FlowState

if TYPE_CHECKING:
    import rich.console
    import rich.progress

__all__ = ["ProgressBar", "fitting_progress", "progress_bar"]

_SECONDS_BETWEEN_UPDATES = 0.2
_NARROWEST_BAR = 10


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
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    console = Console(file=cast(TextIO, Unfailing(sys.stderr)))
    if console.is_jupyter and importlib.util.find_spec("ipywidgets") is None:
        print("The gradient flow runs without a progress bar, which needs ipywidgets in a notebook.", file=sys.stderr)
        yield None
        return
    name, line, _, log10_time, nc1, left = columns = (
        TextColumn("gradient flow"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("log10 t = {task.fields[log10_time]}"),
        TextColumn("nc1 = {task.fields[nc1]}"),
        TimeRemainingColumn(compact=True),
    )
    with fitting_progress(columns, (line, name, left, nc1, log10_time), console) as bar:
        yield ProgressBar(bar)


def fitting_progress(
    columns: Sequence["rich.progress.ProgressColumn"],
    first_to_go: Sequence["rich.progress.ProgressColumn"],
    console: "rich.console.Console",
) -> "rich.progress.Progress":
    """The ``columns`` as a progress display in which no number is cut off.

    While the terminal is too narrow for all of them, those in ``first_to_go`` are left out, in this order.
    """
    from rich.measure import Measurement
    from rich.progress import BarColumn, Progress, ProgressColumn

    class Fitting(Progress):
        def get_renderables(self) -> "Iterable[rich.console.RenderableType]":
            kept = list(columns)
            for column in first_to_go:
                # One space after each column.
                if sum(self._width(each) + 1 for each in kept) <= console.width:
                    break
                kept.remove(column)
            self.columns = tuple(kept)
            yield self.make_tasks_table(self.tasks)

        def _width(self, column: ProgressColumn) -> int:
            if isinstance(column, BarColumn):
                return _NARROWEST_BAR
            unbounded = console.options.update_width(10**4)
            return max((Measurement.get(console, unbounded, column(task)).maximum for task in self.tasks), default=0)

    return Fitting(*columns, console=console)
