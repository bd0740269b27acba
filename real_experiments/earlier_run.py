"""The run that ``train --overwrite`` replaces: moved aside, and deleted only when the new run is complete.

The earlier run waits in the folder .earlier of the run's own folder, so each move is a rename. Moving takes several
renames. Until all are done, the folder is called .earlier-moving. ``settle`` undoes the unfinished move of a killed
process.
"""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from real_experiments.trainer import Diverged
from real_experiments.training_checkpoint import Checkpoint
from real_experiments.training_directory import TrainingDirectory

__all__ = ["discard", "is_set_aside", "returns_on_failure", "set_aside", "settle"]


def _place(directory: TrainingDirectory) -> Path:
    """Where the earlier run waits."""
    return directory.path / ".earlier"


def is_set_aside(directory: TrainingDirectory) -> bool:
    """Whether an earlier run waits for the end of this one."""
    return _place(directory).is_dir() or _moving(directory).is_dir()


def settle(directory: TrainingDirectory) -> None:
    """Undo an unfinished move: the earlier run is then back in its place. Raises: OSError."""
    moving = _moving(directory)
    if moving.is_dir():
        for file in [file for file in moving.rglob("*") if file.is_file()]:
            _move(file, directory.path / file.relative_to(moving))
        shutil.rmtree(moving)


def set_aside(directory: TrainingDirectory) -> None:
    """Move a run aside. If one waits already, keep it, and delete the run that should replace it. Raises: OSError."""
    settle(directory)
    if _is_complete(directory):
        discard(directory)
    if not is_set_aside(directory) and directory.holds_a_run():
        moving = _moving(directory)
        for file in directory.files():
            _move(file, moving / file.relative_to(directory.path))
        moving.rename(_place(directory))
    directory.clear()


@contextlib.contextmanager
def returns_on_failure(directory: TrainingDirectory) -> Iterator[None]:
    """Put an earlier run that was set aside back if the new one diverges, or fails before its first checkpoint.

    After its first checkpoint the new run can continue with --resume, and both runs are kept.
    """
    try:
        yield
    except BaseException as error:
        if not is_set_aside(directory) or not (isinstance(error, Diverged) or not directory.checkpoint.exists()):
            raise
        _put_back(directory)
        if isinstance(error, Diverged):
            raise Diverged(f"{error} The earlier run in {directory.path} is back in its place.") from error
        raise


def _put_back(directory: TrainingDirectory) -> None:
    """Delete the run that was to replace the earlier one, which takes its place again. Raises: OSError."""
    directory.clear()
    _place(directory).rename(_moving(directory))
    settle(directory)


def discard(directory: TrainingDirectory) -> None:
    """Delete the earlier run: the new one is complete. Raises: OSError."""
    if _place(directory).is_dir():
        shutil.rmtree(_place(directory))


def _moving(directory: TrainingDirectory) -> Path:
    return directory.path / ".earlier-moving"


def _move(file: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    file.replace(to)


def _is_complete(directory: TrainingDirectory) -> bool:
    """Whether the run that is in place was trained to its end."""
    try:
        checkpoint = Checkpoint.read(directory.checkpoint)
    except OSError:
        return False
    return checkpoint.epochs >= checkpoint.recipe.epochs
