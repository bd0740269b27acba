"""A progress bar for training: epochs, loss and error of the epoch under way, nc1 of the last measurement."""

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from real_experiments.trainer import Trainer
from ulpm.support import fitting_progress

__all__ = ["TrainingBar", "training_bar"]

_SECONDS_BETWEEN_UPDATES = 0.5


class TrainingBar:
    """Shows how far a training run is, at most twice a second, since reading the loss waits for the device."""

    def __init__(self, bar: Progress, steps: int, epochs: int) -> None:
        self._bar = bar
        self._epochs = epochs
        self._task = bar.add_task("training", total=steps, epoch=0, epochs=epochs, loss="", error="", nc1="")
        self._next = 0.0

    def update(self, trainer: Trainer, nc1: float | None) -> None:
        """Redraw if the last time was long enough ago, or the run has ended."""
        now = time.monotonic()
        if now < self._next and trainer.epoch < self._epochs:
            return
        self._next = now + _SECONDS_BETWEEN_UPDATES
        loss, error = trainer.running_loss_and_error()
        self._bar.update(
            self._task,
            completed=trainer.steps,
            epoch=trainer.epoch,
            loss=f"{loss:.3g}",
            error=f"{error:.3%}",
            nc1="" if nc1 is None else f"nc1 = {nc1:.3g}",
        )


@contextlib.contextmanager
def training_bar(show: bool, steps: int, epochs: int) -> Iterator[TrainingBar | None]:
    """A bar on standard error, or None."""
    if not show:
        yield None
        return
    _, line, batches, loss, error, nc1, left = columns = (
        TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]}"),
        TextColumn("error {task.fields[error]}"),
        TextColumn("{task.fields[nc1]}"),
        TimeRemainingColumn(compact=True),
    )
    with fitting_progress(columns, (line, batches, left, error, nc1, loss), Console(stderr=True)) as bar:
        yield TrainingBar(bar, steps, epochs)
