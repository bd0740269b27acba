"""A run goes on by what it saved itself: config.json is a note for people, and no finished result is replaced."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import ulpm
from ulpm import runs
from ulpm.cli import main
from ulpm.runs import RunDirectory
from ulpm.support import files

pytestmark = pytest.mark.usefixtures("unchecked")

FLOW = ("flow", "--class-counts", "3,2,2", "--feature-dim", "4", "--log-time", "3", "--records", "5")
QUIET = ("--no-progress", "--no-figures")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    assert main([*FLOW, *QUIET, "--out", str(tmp_path / "a")]) == 0
    return tmp_path / "a"


def edit(run: Path, **changes: Any) -> None:
    """Change arguments in config.json, as a person or a damaged disk would."""
    config = json.loads((run / "config.json").read_text())
    config["arguments"] |= changes
    (run / "config.json").write_text(json.dumps(config))


def only_config(run: Path) -> None:
    for file in run.iterdir():
        if file.name != "config.json":
            file.unlink()


@pytest.mark.parametrize("changes", [{"log_time": 4.0}, {"seed": 9}, {"unheard": 1}, {"class_counts": 5}])
def test_a_finished_run_stays_whatever_its_note_says(
    run: Path, changes: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    before = (run / "trajectory.safetensors").read_bytes()
    edit(run, **changes)
    capsys.readouterr()
    assert main(["resume", str(run), "--no-progress"]) == 0
    said = capsys.readouterr().out
    assert f"config.json says something else about {next(iter(changes))}" in said
    assert "nothing to resume" in said
    assert (run / "trajectory.safetensors").read_bytes() == before


@pytest.mark.parametrize("text", [None, "", "[" * 10**6, "[]", '{"arguments": 3}', "\x00"])
def test_a_note_that_is_lost_or_damaged_costs_nothing(
    run: Path, text: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (run / "trajectory.safetensors").read_bytes()
    (run / "config.json").unlink() if text is None else (run / "config.json").write_text(text)
    assert main(["resume", str(run), "--no-progress"]) == 0
    assert "config.json is missing or damaged" in capsys.readouterr().out
    assert (run / "trajectory.safetensors").read_bytes() == before


def test_a_checkpoint_goes_on_by_its_own_arguments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a"
    assert main([*FLOW, *QUIET, "--max-steps", "3", "--out", str(out)]) == 1
    (out / "trajectory.safetensors").unlink()
    edit(out, seed=9, max_steps=1000)
    assert main(["resume", str(out), "--no-progress", "--max-steps", "1000"]) == 0
    assert "config.json says something else about max_steps, seed" in capsys.readouterr().out
    assert main([*FLOW, *QUIET, "--out", str(tmp_path / "b")]) == 0
    assert (out / "records.csv").read_text() == (tmp_path / "b" / "records.csv").read_text()


def test_a_run_that_overwrites_and_is_stopped_leaves_the_earlier_result(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {name: (run / name).read_bytes() for name in ("trajectory.safetensors", "records.csv")}

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("ulpm.flow.run.FlowRun._go", stopped)
        assert main([*FLOW, *QUIET, "--seed", "5", "--overwrite", "--out", str(run)]) == 130
    assert {name: (run / name).read_bytes() for name in before} == before
    # Its start was saved first, so that the run goes on without config.json.
    (run / "config.json").unlink()
    assert main(["resume", str(run), "--no-progress"]) == 0
    path = ulpm.Trajectory.load(run / "trajectory.safetensors")
    problem = ulpm.Problem([3, 2, 2], 4)
    alone = ulpm.gradient_flow(problem, problem.random_state(seed=5), log_time=3.0, records=5)
    assert torch.equal(path.log_loss, alone.log_loss)
    assert path.config["arguments"]["seed"] == 5


@pytest.mark.parametrize("name", ["checkpoint.safetensors", "trajectory.safetensors", "config.json"])
def test_whatever_is_left_of_a_run_is_not_overwritten_unasked(run: Path, name: str) -> None:
    if name == "checkpoint.safetensors":
        (run / "trajectory.safetensors").rename(run / name)
    for file in run.iterdir():
        if file.name != name:
            file.unlink()
    before = (run / name).read_bytes()
    assert main([*FLOW, *QUIET, "--out", str(run)]) == 1
    assert (run / name).read_bytes() == before


def test_a_lone_note_is_followed_as_it_was_written_and_not_as_it_was_changed(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = (run / "trajectory.safetensors").read_bytes()
    only_config(run)
    assert main(["resume", str(run), "--no-progress"]) == 0
    assert (run / "trajectory.safetensors").read_bytes() == result
    only_config(run)
    edit(run, seed=9)
    assert main(["resume", str(run), "--no-progress"]) == 1
    assert "was changed since it was written" in capsys.readouterr().err
    assert [file.name for file in run.iterdir()] == ["config.json"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"foo": 1},
        {"seed": "0"},
        {"seed": True},
        {"class_counts": 5},
        {"figures": 1},
        {"weight_decay": 1.0},
        {"weight_decay": ["1", 0.0]},
    ],
)
def test_a_lone_note_of_something_else_gets_one_sentence(
    tmp_path: Path, arguments: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    note = {"arguments": arguments, "sha256": runs._digest(arguments)}
    (tmp_path / "config.json").write_text(json.dumps(note))
    assert main(["resume", str(tmp_path)]) == 1
    assert "it is not the configuration of a run" in capsys.readouterr().err


def test_a_lone_note_without_its_checksum_is_not_trusted(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    only_config(run)
    note = json.loads((run / "config.json").read_text())
    del note["sha256"]
    (run / "config.json").write_text(json.dumps(note))
    assert main(["resume", str(run), "--no-progress"]) == 1
    assert "was changed since it was written" in capsys.readouterr().err


def test_two_processes_do_not_write_to_one_directory(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {file.name: file.read_bytes() for file in run.iterdir()}
    with RunDirectory(run).locked():
        assert main([*FLOW, *QUIET, "--overwrite", "--out", str(run)]) == 1
        assert main(["resume", str(run)]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    assert all("another process is writing to" in error for error in errors)
    assert {file.name: file.read_bytes() for file in run.iterdir()} == before
    assert main([*FLOW, *QUIET, "--overwrite", "--out", str(run)]) == 0


HOLD = """
import pathlib, sys
from ulpm import _files
with _files.locked(pathlib.Path(sys.argv[1])):
    print(1, flush=True)
    input()
"""


def test_a_lock_dies_with_its_process_and_leaves_no_file(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "1\n"
    with pytest.raises(OSError, match="another process is writing to"), files.locked(tmp_path):
        pass
    holder.kill()
    holder.communicate()
    with files.locked(tmp_path):
        assert list(tmp_path.iterdir()) == []


def test_a_folder_of_a_training_run_is_not_taken_for_one_of_another_version(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tmp_path / "checkpoint.safetensors"
    files.write_tensors(checkpoint, {"weight": torch.zeros(1, device="cpu")}, {"kind": "training checkpoint"})
    assert main(["resume", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"ulpm: {checkpoint} holds a training checkpoint, not the checkpoint of a flow.\n"
