"""A run that is to be replaced is there until the new one is complete, wherever a process is killed."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hand_made_run import made_run

from real_experiments import earlier_run
from real_experiments.trainer import Diverged
from real_experiments.training_directory import TrainingDirectory


def contents(out: Path) -> dict[str, bytes]:
    return {str(file.relative_to(out)): file.read_bytes() for file in sorted(out.rglob("*")) if file.is_file()}


@pytest.fixture
def directory(tmp_path: Path) -> TrainingDirectory:
    made = made_run(tmp_path / "r")
    (made.path / "notes.txt").write_text("mine")
    return made


def begin_another(directory: TrainingDirectory, checkpoint: bool) -> None:
    directory.write_rows([{"epoch": 1, "train_error": 1.0}])
    if checkpoint:
        directory.checkpoint.write_bytes(b"new")


def test_the_earlier_run_is_gone_only_when_the_new_one_is_complete(directory: TrainingDirectory) -> None:
    before = contents(directory.path)
    earlier_run.set_aside(directory)
    assert not directory.holds_a_run()
    assert (directory.path / "notes.txt").read_text() == "mine"
    begin_another(directory, checkpoint=True)
    assert set(before.values()) <= set(contents(directory.path).values())
    earlier_run.discard(directory)
    assert set(contents(directory.path)) == {"notes.txt", "metrics.csv", "checkpoint.safetensors"}


def fail(directory: TrainingDirectory, error: BaseException, checkpoint: bool) -> None:
    with earlier_run.returns_on_failure(directory):
        begin_another(directory, checkpoint)
        raise error


@pytest.mark.parametrize(
    ("error", "checkpoint"),
    [(Diverged("it diverged."), True), (OSError("no space"), False), (KeyboardInterrupt(), False)],
)
def test_a_run_that_fails_gives_the_earlier_one_its_place_back(
    directory: TrainingDirectory, error: BaseException, checkpoint: bool
) -> None:
    before = contents(directory.path)
    earlier_run.set_aside(directory)
    with pytest.raises(type(error)):
        fail(directory, error, checkpoint)
    assert contents(directory.path) == before


def test_a_run_that_can_go_on_is_kept_beside_the_earlier_one(directory: TrainingDirectory) -> None:
    before = contents(directory.path)
    earlier_run.set_aside(directory)
    with pytest.raises(OSError, match="no space"):
        fail(directory, OSError("no space"), checkpoint=True)
    assert directory.checkpoint.read_bytes() == b"new"
    # To overwrite once more replaces the new one, which never ended, and not the earlier one.
    earlier_run.set_aside(directory)
    with pytest.raises(Diverged, match="is back in its place"):
        fail(directory, Diverged("it diverged."), checkpoint=True)
    assert contents(directory.path) == before


@pytest.mark.parametrize("move", [earlier_run.set_aside, earlier_run._put_back])
@pytest.mark.parametrize("moves", [0, 1, 2, 3, 4])
def test_a_process_killed_between_two_renames_loses_nothing(
    directory: TrainingDirectory,
    monkeypatch: pytest.MonkeyPatch,
    move: Callable[[TrainingDirectory], None],
    moves: int,
) -> None:
    before = contents(directory.path)
    if move is not earlier_run.set_aside:
        earlier_run.set_aside(directory)
        begin_another(directory, checkpoint=True)
    done, rename = 0, earlier_run._move

    def killed_after_some(file: Path, to: Path) -> None:
        nonlocal done
        if done == moves:
            raise KeyboardInterrupt
        done += 1
        rename(file, to)

    monkeypatch.setattr(earlier_run, "_move", killed_after_some)
    with pytest.raises(KeyboardInterrupt):
        move(directory)
    monkeypatch.undo()
    earlier_run.settle(directory)
    assert contents(directory.path) == before
