"""A file that was changed is read as it was written, or refused with one sentence; no earlier result is lost."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest
import safetensors.torch
import torch

import ulpm
from attack.mutations import mutated
from ulpm import _files
from ulpm.cli import main
from ulpm.flow.checkpoint import read_checkpoint, write_checkpoint
from ulpm.flow.options import FlowOptions
from ulpm.flow.run import FlowRun
from ulpm.runs import RunDirectory
from ulpm.starts import read_features

pytestmark = pytest.mark.usefixtures("unchecked")

SIZES = [60, pytest.param(1000, marks=pytest.mark.slow)]
# A lone config.json without its checksum, and a directory of an archive that listed fewer arrays than there were.
ONCE_UNNOTICED = (654, 628)
CLI_SIZES = [6, pytest.param(100, marks=pytest.mark.slow)]
FLOW = ("flow", "--class-counts", "3,2,2", "--feature-dim", "4", "--log-time", "3", "--records", "5")
QUIET = ("--no-progress", "--no-figures")

Contents = tuple[dict[str, bytes], str]


def contents(tensors: Mapping[str, torch.Tensor], facts: Any) -> Contents:
    """Everything that was read, comparable bit by bit."""
    bits = {
        name: f"{value.dtype}{list(value.shape)}".encode()
        + value.contiguous().flatten().view(torch.uint8).numpy().tobytes()
        for name, value in tensors.items()
    }
    return bits, repr(facts)


def refusal(read: Callable[[Path], Contents], file: Path) -> tuple[Contents | None, Exception | None]:
    """What was read, or why not."""
    try:
        return read(file), None
    except (OSError, ValueError) as error:
        return None, error


def trajectory(file: Path) -> Contents:
    path = ulpm.Trajectory.load(file)
    tensors = {**path.columns(), "W": path.final_state.W, "H": path.final_state.H}
    if path.snapshots is not None:
        tensors |= {f"snapshots.{name}": value for name, value in vars(path.snapshots).items() if value is not None}
    return contents(tensors, (path.problem, path.status, path.stats, path.config))


def checkpoint(file: Path) -> Contents:
    loop, state, config, _ = read_checkpoint(file)
    tensors, metadata = _files.read_tensors(file)
    return contents(tensors, (config, metadata, state.status, dict(state.counts), loop.rtol))


def start(file: Path) -> Contents:
    arrays = dict(zip(("features", "labels", "classifier"), read_features(file), strict=True))
    return contents({name: value for name, value in arrays.items() if value is not None}, sorted(arrays))


def features(file: Path) -> Contents:
    """All arrays of a file of features, of which labels are text."""
    found = ulpm.load_features(file)
    return contents({"features": torch.cat([part for _, part in found.tiles()])}, (found.labels, found.class_names))


def lone_note(file: Path) -> Contents:
    """config.json where nothing else is left, read as ``ulpm resume`` reads it."""
    return {}, repr(sorted(RunDirectory(file.parent).found().arguments.items()))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "a"
    assert main([*FLOW, *QUIET, "--snapshots", "2", "--out", str(out)]) == 0
    return out


def make(kind: str, run: Path, folder: Path) -> Path:
    """A file of this kind in ``folder``."""
    if kind == "trajectory":
        return shutil.copy(run / "trajectory.safetensors", folder)
    if kind == "config":
        return shutil.copy(run / "config.json", folder)
    if kind == "checkpoint":
        problem = ulpm.Problem([3, 2, 2], 4)
        options = FlowOptions(log_time=3.0, records=5, snapshots=2, max_steps=1000)
        flow = FlowRun.prepare(problem, problem.random_state(replicas=2), options, {"arguments": {}})
        with torch.no_grad():
            for _ in range(5):
                flow.step()
        write_checkpoint(folder / "checkpoint.safetensors", flow.loop, flow.state, flow.config)
        return folder / "checkpoint.safetensors"
    g = np.random.default_rng(0)
    arrays = {"features": g.normal(size=(8, 3)), "labels": np.array([0, 1] * 4), "classifier": g.normal(size=(2, 3))}
    if kind.startswith("named"):
        arrays |= {"labels": np.array(["shoe", "bag"] * 4)}
    save = np.savez if kind.endswith("plain npz") else np.savez_compressed
    save(folder / "start.npz", allow_pickle=False, **arrays)
    return folder / "start.npz"


READERS: dict[str, Callable[[Path], Contents]] = {
    "trajectory": trajectory,
    "checkpoint": checkpoint,
    "config": lone_note,
    "plain npz": start,
    "compressed npz": start,
    "named plain npz": features,
    "named compressed npz": features,
}


@pytest.mark.parametrize("number", SIZES)
@pytest.mark.parametrize("kind", READERS)
def test_a_changed_file_is_the_same_or_refused_with_one_sentence(
    kind: str, number: int, run: Path, tmp_path: Path
) -> None:
    file, read = make(kind, run, tmp_path), READERS[kind]
    file = Path(file)
    good, before = file.read_bytes(), read(file)
    refused = 0
    for seed in (*range(number), *ONCE_UNNOTICED):
        file.write_bytes(mutated(good, seed))
        after, error = refusal(read, file)
        if error is None:
            assert after == before, f"seed {seed}: read something else without a word"
            continue
        # A start that lacks an array is a ValueError: nothing says that it ever had one.
        assert isinstance(error, OSError) or kind.endswith("npz"), f"seed {seed}: {error!r}"
        assert str(file) in str(error), f"seed {seed}: {error}"
        assert "\n" not in str(error), f"seed {seed}: {error}"
        refused += 1
    assert refused > number / 3


@pytest.mark.parametrize("number", SIZES)
@pytest.mark.parametrize("kind", ["npy", "safetensors", "parquet"])
def test_a_changed_file_of_features_without_a_checksum_is_read_or_refused_with_one_sentence(
    kind: str, number: int, tmp_path: Path
) -> None:
    file, refused = tmp_path / f"x.{kind}", 0
    g = np.random.default_rng(0)
    H, labels = g.normal(size=(8, 3)), np.array([3, 1] * 4)
    if kind == "npy":
        np.save(file, H)
    elif kind == "safetensors":
        safetensors.torch.save_file({"H": torch.from_numpy(H), "y": torch.from_numpy(labels)}, file)
    else:
        parquet.write_table(pyarrow.table({"H": list(H), "y": labels.astype(str)}), file)
    np.save(tmp_path / "labels.npy", labels)
    good = file.read_bytes()

    def read(path: Path) -> Contents:
        found = ulpm.load_features(path, labels=tmp_path / "labels.npy" if kind == "npy" else None)
        # Changed numbers are numbers: these files have no checksum over them.
        return {}, f"{sum(len(part) for _, part in found.tiles()) - len(found.labels)}"

    for seed in range(number):
        file.write_bytes(mutated(good, seed))
        lengths, error = refusal(read, file)
        if error is None:
            assert lengths == ({}, "0"), f"seed {seed}"
            continue
        assert str(file) in str(error), f"seed {seed}: {error}"
        assert "\n" not in str(error), f"seed {seed}: {error}"
        refused += 1
    assert refused > number / 5


@pytest.mark.parametrize("number", CLI_SIZES)
@pytest.mark.parametrize("name", ["config.json", "trajectory.safetensors", "records.csv", "results.md"])
def test_a_finished_run_with_a_changed_file_is_shown_as_it_was_or_refused(
    name: str, number: int, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a"
    shutil.copytree(run, out)
    good = {file.name: file.read_bytes() for file in run.iterdir()}
    for seed in range(number):
        bad = mutated(good[name], seed)
        (out / name).write_bytes(bad)
        status = main(["resume", str(out), "--no-progress"])
        errors = capsys.readouterr().err.splitlines()
        assert (status, len(errors)) in ((0, 0), (1, 1)), f"seed {seed}: {errors}"
        result = (out / "trajectory.safetensors").read_bytes()
        assert result == (bad if name == "trajectory.safetensors" else good["trajectory.safetensors"]), f"seed {seed}"
        if status == 0 and name != "config.json":
            assert (out / "records.csv").read_bytes() == good["records.csv"], f"seed {seed}"


def test_an_interrupted_run_with_a_changed_checkpoint_keeps_the_earlier_result(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run, tmp_path / "a")
    file = make("checkpoint", run, tmp_path / "a")
    good, result = file.read_bytes(), (run / "trajectory.safetensors").read_bytes()
    for seed in range(10):
        file.write_bytes(mutated(good, seed))
        assert main(["resume", str(tmp_path / "a"), "--no-progress"]) == 1
        assert len(capsys.readouterr().err.splitlines()) == 1
        assert (tmp_path / "a" / "trajectory.safetensors").read_bytes() == result


def test_a_damaged_result_in_json_is_replaced_by_a_whole_one(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    assert main(["table", str(run), "--json", str(file)]) == 0
    good = file.read_bytes()
    for seed in range(5):
        file.write_bytes(mutated(good, seed))
        assert main(["table", str(run), "--json", str(file)]) == 0
        assert file.read_bytes() == good


def test_intact_files_with_contents_of_other_types_are_refused_with_one_sentence(run: Path, tmp_path: Path) -> None:
    """As another version might write them, or a person: the checksum is right, the contents are not."""
    for kind, read in (("trajectory", trajectory), ("checkpoint", checkpoint)):
        file = Path(make(kind, run, tmp_path))
        tensors, metadata = _files.read_tensors(file)
        for key in metadata:
            for value in (None, -1, "x", [], {}, [[]], 1e300, True, {"a": [1]}):
                _files.write_tensors(file, tensors, {**metadata, key: value})
                _, error = refusal(read, file)
                assert error is None or (isinstance(error, OSError) and str(file) in str(error))
        for name in tensors:
            _files.write_tensors(file, {key: tensors[key] for key in tensors if key != name}, metadata)
            _, error = refusal(read, file)
            assert error is None or (isinstance(error, OSError) and str(file) in str(error))
        deep: Any = []
        for _ in range(500):
            deep = [deep]
        safetensors.torch.save_file({}, file, {"ulpm": json.dumps({"kind": kind, "deep": deep})})
        with pytest.raises(OSError, match="is damaged"):
            read(file)
