"""The files of a run are whole or refused with one sentence; resuming drops what is later than the checkpoint."""

import math
from pathlib import Path

import pytest
import torch

from real_experiments.training_directory import TrainingDirectory

ROWS = [{"epoch": epoch, "train_loss": 0.1 + 1 / 3**epoch, "certificate_gap": math.inf} for epoch in (1, 2, 5)]


@pytest.fixture
def directory(tmp_path: Path) -> TrainingDirectory:
    made = TrainingDirectory(tmp_path / "r")
    made.write_config({"arguments": {"seed": 1}})
    made.write_rows(ROWS)
    for epoch in (1, 2, 5):
        made.write_snapshot(epoch, {"W": torch.ones(2, 3)}, {"first_without_error": epoch == 2})
    return made


def test_rows_and_snapshots_come_back_as_they_were_written(directory: TrainingDirectory) -> None:
    assert directory.read_rows() == ROWS
    assert directory.metrics.read_text().startswith("epoch,train_loss,certificate_gap\n1,")
    tensors, metadata = directory.read_snapshot(2)
    assert torch.equal(tensors["W"], torch.ones(2, 3))
    assert metadata["first_without_error"] is True
    assert list(directory.snapshot_files()) == [1, 2, 5]
    assert directory.snapshot_files()[5].name == "epoch_000005.safetensors"


def test_rewinding_drops_what_is_later(directory: TrainingDirectory) -> None:
    (directory.path / ".metrics.csv.torn.csv").write_text("epoch,train")
    assert directory.rewind(2) == ROWS[:2]
    assert directory.read_rows() == ROWS[:2]
    assert list(directory.snapshot_files()) == [1, 2]
    assert not list(directory.path.glob(".*"))
    assert directory.rewind(0) == []
    assert directory.read_rows() == []


@pytest.mark.parametrize(
    "text", ["", "epoch,a\n1,2\n2\n", "epoch,a\n1,x\n", "a,b\n1,2\n", "epoch,a\n2,1\n1,1\n", "epoch,a\n1,2\nnan,1\n"]
)
def test_a_torn_table_is_refused_with_one_sentence(directory: TrainingDirectory, text: str) -> None:
    directory.metrics.write_text(text)
    with pytest.raises(OSError, match=r"metrics\.csv is damaged: it is not the table of a training run\."):
        directory.rewind(1)
    assert directory.metrics.read_text() == text


def test_torn_configurations_and_snapshots_are_refused_with_one_sentence(directory: TrainingDirectory) -> None:
    directory.config.write_text('{"arguments": {"se')
    with pytest.raises(OSError, match=r"config\.json is damaged"):
        directory.read_config()
    file = directory.snapshot_files()[1]
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(OSError, match="damaged or truncated"):
        directory.read_snapshot(1)
    with pytest.raises(OSError, match="there is no such file"):
        directory.read_snapshot(77)


def test_clearing_removes_the_files_of_a_run_and_no_others(directory: TrainingDirectory) -> None:
    (directory.path / "notes.txt").write_text("mine")
    (directory.snapshots / "mine.safetensors").write_text("mine")
    directory.clear()
    assert sorted(file.name for file in directory.path.rglob("*") if file.is_file()) == [
        "mine.safetensors",
        "notes.txt",
    ]
    assert not directory.holds_a_run()
