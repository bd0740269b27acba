"""The command leaves behind what it promises, resumes to the same bits, and never overwrites a run unasked."""

import csv
import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hand_made_run import made_run

import ulpm
from real_experiments.__main__ import main
from real_experiments.datasets import DATASETS
from real_experiments.datasets.published import CACHE_VARIABLE
from real_experiments.measure import Measure
from real_experiments.recipe import Recipe
from real_experiments.reproduce import Reproduce
from real_experiments.run_lock import sole_writer
from real_experiments.schedule import measured_epochs, snapshot_epochs
from real_experiments.train import Train
from real_experiments.training_checkpoint import (
    Checkpoint,
    identify,
    read_checkpoint,
    restore_network,
    write_checkpoint,
)
from real_experiments.training_directory import TrainingDirectory
from ulpm.support import METRICS

pytestmark = pytest.mark.usefixtures("unchecked_module")

SIZES = "--model resnet18 --width 4 --dataset fashion-mnist-sample --class-counts 12,10,8 --batch-size 8"
TINY = ["train", *SIZES.split(), "--no-progress"]
NETWORK = {"train_loss", "train_error", "log_loss", "squared_norm", "margin", "normalised_margin", *METRICS}
OF_CLASSIFIER = {"classifier_squared_norm", "classifier_sum_drift", "nc0_law", "nc0_law_error"}
CERTIFICATE = {f"certificate_{name}" for name in ("lower_bound", "upper_bound", "nuclear_upper_bound", "gap")}


def contents(out: Path) -> dict[str, bytes]:
    return {str(file.relative_to(out)): file.read_bytes() for file in sorted(out.rglob("*")) if file.is_file()}


def epochs_of(out: Path) -> list[int]:
    with (out / "metrics.csv").open() as file:
        return [int(row["epoch"]) for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("train") / "r"
    assert main([*TINY, "--epochs", "26", "--learning-rate", "0.05", "--out", str(out)]) == 0
    return out


def test_a_run_leaves_a_table_snapshots_and_its_configuration(finished: Path) -> None:
    directory = TrainingDirectory(finished)
    rows = directory.read_rows()
    assert [row["epoch"] for row in rows] == measured_epochs(26) == [*range(1, 21), 21, 23, 25, 26]
    expected = {"epoch", "flow_time"} | OF_CLASSIFIER | NETWORK | CERTIFICATE
    assert set(rows[0]) == expected | {f"reestimated_{name}" for name in NETWORK}
    assert list(rows[0])[:4] == ["epoch", "flow_time", "train_loss", "train_error"]
    config = directory.read_config()
    assert config["steps_per_epoch"] == 4
    assert config["flow_time_per_step"] == pytest.approx(0.05 / (0.7 * 30))
    assert rows[-1]["flow_time"] == pytest.approx(26 * 4 * config["flow_time_per_step"])
    assert config["dataset"]["class_counts"] == [12, 10, 8]
    assert {"torch", "ulpm"} <= config["versions"].keys()
    assert rows[-1]["classifier_sum_drift"] < 1e-5
    assert rows[-1]["nc0_law_error"] < 1e-5
    assert rows[-1]["nc0_law"] == pytest.approx(rows[-1]["nc0"], abs=1e-5)


def test_images_that_were_not_trained_on_have_columns_of_their_own(tmp_path: Path) -> None:
    out, seen_only = tmp_path / "r", tmp_path / "s"
    command = [*TINY, "--epochs", "2"]
    assert main([*command, "--out", str(seen_only)]) == 0
    assert main([*command, "--test-images", "30", "--out", str(out)]) == 0
    row, without = TrainingDirectory(out).read_rows()[-1], TrainingDirectory(seen_only).read_rows()[-1]
    of_features = {name for name in METRICS if name != "nc0" and "_classifier" not in name}
    assert set(row) - set(without) == {f"test_{name}" for name in {"loss", "error"} | of_features}
    assert {name: row[name] for name in without} == without  # nothing else has changed by looking
    recipe = Recipe.from_json(TrainingDirectory(out).read_config()["arguments"])
    device = torch.device("cpu")
    training = recipe.load_data(device)
    images = recipe.load_unseen(training, device)
    assert images is not None
    assert images.class_counts == (10, 10, 10)
    assert "30 others were drawn" in TrainingDirectory(out).read_config()["test_source"]
    seen = {image.numpy().tobytes() for image in training.images}
    assert not any(image.numpy().tobytes() in seen for image in images.images)
    # What is measured is what the library measures of these images.
    model = recipe.build(training, device)
    tensors, _ = read_checkpoint(out / "checkpoint.safetensors", recipe, identify(training))
    restore_network(out / "checkpoint.safetensors", model, tensors)
    found = ulpm.measure(model, [(images.images, images.labels)])
    for name in of_features:
        assert row[f"test_{name}"] == pytest.approx(float(found[name]), rel=1e-9, abs=1e-12), name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--momentum", "0.9", "--optimizer", "adam"], "--momentum is an option of sgd, and --optimizer is adam"),
        (["--decoupled-decay", "--weight-decay", "0.1", "--optimizer", "adamw"], "adamw has it always"),
        (["--decoupled-decay"], "give a --weight-decay above 0"),
        (["--loss", "focal", "--label-smoothing", "0.1"], "an option of cross-entropy, and --loss is focal: leave it"),
        (["--gamma", "1"], "--gamma is an option of focal, and --loss is cross-entropy: leave it out"),
        (["--split", "test"], "fashion-mnist-sample has no test split"),
    ],
)
def test_an_option_that_would_be_ignored_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*TINY, *options, "--out", str(tmp_path / "r")])
    assert ended.value.code != 0
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--test-images", "31"], "a multiple of 3 images, but not 31"),
        (["--test-images", "300"], "class 0 of fashion-mnist-sample has only 100 images"),
        (["--data", "nowhere"], "it has no path"),
    ],
)
def test_data_that_are_not_there_get_one_sentence_and_no_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main([*TINY, *options, "--out", str(tmp_path / "r")]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_adam_resumes_to_the_same_numbers_and_breaks_the_law(tmp_path: Path, optimizer: str) -> None:
    short, long = tmp_path / "short", tmp_path / "long"
    command = [*TINY, "--optimizer", optimizer, "--learning-rate", "0.003"]
    command += ["--weight-decay", "0.1"] if optimizer == "adamw" else []
    assert main([*command, "--epochs", "2", "--out", str(short)]) == 0
    assert main([*command, "--epochs", "4", "--out", str(short), "--resume"]) == 0
    assert main([*command, "--epochs", "4", "--out", str(long)]) == 0
    assert contents(short)["checkpoint.safetensors"] == contents(long)["checkpoint.safetensors"]
    last = TrainingDirectory(long).read_rows()[-1]
    assert last["nc0_law_error"] > 0.01
    assert math.isnan(last["flow_time"])


def test_a_run_from_before_a_column_goes_on_with_it(tmp_path: Path) -> None:
    out = tmp_path / "r"
    assert main([*TINY, "--epochs", "1", "--out", str(out)]) == 0
    directory = TrainingDirectory(out)
    old = [{name: value for name, value in row.items() if name != "nc3_duality"} for row in directory.read_rows()]
    directory.write_rows(old)
    kept = Checkpoint.read(directory.checkpoint)
    write_checkpoint(directory.checkpoint, kept.tensors, kept.recipe, kept.dataset, kept.steps, old)
    assert main([*TINY, "--epochs", "2", "--out", str(out), "--resume"]) == 0
    first, second = directory.read_rows()
    assert math.isnan(first["nc3_duality"])
    assert second["nc3_duality"] > 0
    assert list(first) == list(second)


def test_snapshots_are_log_spaced_and_at_the_first_epoch_without_error(finished: Path) -> None:
    directory = TrainingDirectory(finished)
    rows = {int(row["epoch"]): row for row in directory.read_rows()}
    first = next(epoch for epoch, row in rows.items() if row["train_error"] == 0)
    assert sorted(directory.snapshot_files()) == sorted({*snapshot_epochs(26), first})
    for epoch in (first, 26):
        tensors, metadata = directory.read_snapshot(epoch)
        assert metadata["first_without_error"] is (epoch == first)
        found = ulpm.neural_collapse(tensors["W"], tensors["H"], tensors["labels"])
        for name, value in found.items():
            assert rows[epoch][name] == pytest.approx(float(value), rel=1e-3, abs=1e-6)


def test_measuring_a_run_again_gives_its_last_row(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(finished)
    assert main(["measure", str(finished), "--json", str(tmp_path / "m.json")]) == 0
    assert "nc1_pinv" in capsys.readouterr().out
    result = json.loads((tmp_path / "m.json").read_text())
    last = TrainingDirectory(finished).read_rows()[-1]
    assert result["epoch"] == 26
    for name in NETWORK | CERTIFICATE | OF_CLASSIFIER:
        assert result["running"][name] == last[name], name
        if name in NETWORK:
            assert result["reestimated"][name] == last[f"reestimated_{name}"], name
    assert contents(finished) == before


def test_an_existing_run_is_kept_unless_asked(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(finished)
    rate = ["--learning-rate", "0.05", "--epochs", "26"]
    mistakes = {
        "already holds a run: give another --out, --overwrite it, or continue it with --resume": rate,
        "was started with --seed 0 (not 1): give the same arguments": [*rate, "--seed", "1", "--resume"],
        "was started with --learning-rate 0.05 (not 0.01)": ["--resume"],
        "--resume and --overwrite exclude each other": [*rate, "--resume", "--overwrite"],
        "must be above 0": [*rate, "--resume", "--checkpoint-seconds", "0"],
        "device 'meta' is not available": [*rate, "--overwrite", "--device", "meta"],
    }
    for message, arguments in mistakes.items():
        assert main([*TINY, *arguments, "--out", str(finished)]) == 1
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert contents(finished) == before


def test_a_finished_run_is_resumed_to_itself_and_prolonged_by_more_epochs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short, long = tmp_path / "short", tmp_path / "long"
    assert main([*TINY, "--epochs", "1", "--out", str(short)]) == 0
    before = contents(short)
    assert main([*TINY, "--epochs", "1", "--out", str(short), "--resume"]) == 0
    assert contents(short) == before
    assert main([*TINY, "--epochs", "3", "--out", str(short), "--resume"]) == 0
    assert main([*TINY, "--epochs", "3", "--out", str(long), "--resume"]) == 0  # nothing to resume: it starts
    assert contents(short) == contents(long)
    assert main([*TINY, "--epochs", "2", "--out", str(short), "--resume"]) == 1
    assert "has been trained for 3 epochs: give at least as many --epochs" in capsys.readouterr().err
    assert contents(short) == contents(long)


def test_overwriting_leaves_nothing_of_the_earlier_run(tmp_path: Path) -> None:
    assert main([*TINY, "--epochs", "4", "--out", str(tmp_path / "a")]) == 0
    again = [*TINY, "--epochs", "1", "--seed", "1"]
    assert main([*again, "--out", str(tmp_path / "a"), "--overwrite"]) == 0
    assert main([*again, "--out", str(tmp_path / "b")]) == 0
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_run_that_diverges_gives_the_earlier_one_its_place_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r"
    made_run(out)
    before = contents(out)
    wild = [*TINY, "--epochs", "2", "--learning-rate", "1e30", "--out", str(out)]
    assert main([*wild, "--overwrite"]) == 1
    error = capsys.readouterr().err
    assert "the training diverged by epoch 1: lower --learning-rate" in error
    assert error.endswith("is back in its place.\n")
    assert error.count("\n") == 1
    assert contents(out) == before


def test_two_processes_do_not_train_into_one_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "r"
    with sole_writer(out):
        assert main([*TINY, "--epochs", "1", "--out", str(out)]) == 1
    error = capsys.readouterr().err
    assert f"another process is writing to {out}: wait until it has ended, or give another directory" in error
    assert error.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize("damage", ["a cut", "no file"])
def test_a_damaged_table_and_configuration_are_made_again_on_resuming(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    out = tmp_path / "r"
    command = [*TINY, "--epochs", "2", "--out", str(out)]
    assert main(command) == 0
    before = contents(out)
    metrics = out / "metrics.csv"
    metrics.write_text(metrics.read_text().splitlines(keepends=True)[0])
    if damage == "no file":
        metrics.unlink()
    (out / "config.json").write_text("{")
    capsys.readouterr()
    assert main([*command, "--resume"]) == 0
    assert "metrics.csv was damaged or incomplete: it is made again from the checkpoint" in capsys.readouterr().out
    assert contents(out) == before


def test_damaged_or_foreign_checkpoints_get_one_sentence_and_change_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    assert main([*TINY, "--epochs", "1", "--out", str(a)]) == 0
    assert main([*TINY, "--epochs", "1", "--width", "8", "--out", str(b)]) == 0
    checkpoint = a / "checkpoint.safetensors"
    mine = checkpoint.read_bytes()
    for damage, message in (
        ((b / "checkpoint.safetensors").read_bytes(), "is the checkpoint of another run, with --width 8 (not 4)"),
        (mine[: len(mine) // 2], "damaged or truncated"),
    ):
        checkpoint.write_bytes(damage)
        before = contents(a)
        capsys.readouterr()
        assert main([*TINY, "--epochs", "3", "--out", str(a), "--resume"]) == 1
        assert main(["measure", str(a)]) == 1
        errors = capsys.readouterr().err
        assert errors.count(message) == 2
        assert errors.count("\n") == 2
        assert contents(a) == before


def test_a_class_without_images_gets_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TINY, "--class-counts", "5,0,3", "--out", str(tmp_path / "r")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_missing_runs_get_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measure", str(tmp_path / "nowhere")]) == 1
    assert capsys.readouterr().err.startswith("real_experiments: ")


@pytest.mark.parametrize("command", ["train", "measure"])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert "--json" in capsys.readouterr().out


def test_the_help_says_where_data_are_searched_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    words = " ".join(capsys.readouterr().out.replace("│", " ").split())
    data = words.split("--data {None}|PATH ")[1].split("--download")[0]
    assert str(DATASETS["fashion-mnist"].package.folder.parent) in data
    assert CACHE_VARIABLE in data


def process(out: Path, *more: str) -> subprocess.Popen[bytes]:
    options = ["--epochs", "12", "--checkpoint-seconds", "0.001", *more, "--out", str(out)]
    return subprocess.Popen([sys.executable, "-m", "real_experiments", *TINY, *options], stderr=subprocess.PIPE)


@pytest.fixture(scope="module")
def twelve_epochs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that nobody disturbed."""
    out = tmp_path_factory.mktemp("twelve") / "reference"
    assert main([*TINY, "--epochs", "12", "--out", str(out)]) == 0
    return out


def test_a_process_killed_on_its_way_resumes_to_the_same_bits(twelve_epochs: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    killed = process(victim)
    deadline = time.monotonic() + 60
    while killed.poll() is None and time.monotonic() < deadline:
        if (victim / "metrics.csv").exists() and len(epochs_of(victim)) >= 3:
            break
        time.sleep(0.01)
    time.sleep(0.03)
    assert killed.poll() is None, "the run ended before it could be killed: make it longer"
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert 3 <= len(epochs_of(victim)) < 12
    # What nobody kills needs no process of its own.
    assert main([*TINY, "--epochs", "12", "--out", str(victim), "--resume"]) == 0
    assert contents(victim) == contents(twelve_epochs)


def test_a_process_interrupted_from_the_keyboard_leaves_a_checkpoint_and_resumes(
    twelve_epochs: Path, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    stopped = process(victim, "--checkpoint-seconds", "1000")
    deadline = time.monotonic() + 60
    while not (victim / "metrics.csv").exists() and stopped.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    stopped.send_signal(signal.SIGINT)
    stopped.communicate(timeout=60)
    assert stopped.returncode == 130
    assert (victim / "checkpoint.safetensors").exists()
    assert main([*TINY, "--epochs", "12", "--out", str(victim), "--resume"]) == 0
    assert contents(victim) == contents(twelve_epochs)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_before_the_first_step_puts_the_earlier_run_back(
    number: int, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r"
    shutil.copytree(finished, out)
    before = contents(out)

    def stop(*_: object) -> None:
        assert signal.getsignal(number) is not signal.SIG_DFL  # which would end the tests
        os.kill(os.getpid(), number)

    monkeypatch.setattr(TrainingDirectory, "write_config", stop)
    assert main([*TINY, "--epochs", "2", "--out", str(out), "--overwrite"]) == 128 + number
    assert capsys.readouterr().err.count("interrupted") == 1
    assert contents(out) == before


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ([*TINY, "--out", "r"], "interrupted; the same command with --resume continues from the last checkpoint."),
        (["reproduce", "sample", "--out", "r"], "interrupted; the same command continues from the last checkpoint."),
        ([*TINY, "--out", "r", "--overwrite"], "interrupted."),
        (["measure", "r"], "interrupted."),
    ],
)
def test_only_commands_that_can_go_on_say_how(
    command: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    for each in (Train, Reproduce, Measure):
        monkeypatch.setattr(each, "run", interrupted)
    assert main(command) == 130
    assert capsys.readouterr().err == f"real_experiments: {sentence}\n"


def test_an_error_of_the_system_names_its_file_and_no_number(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(_: object) -> None:
        raise OSError(30, "Read-only file system", "r/.earlier-moving")

    monkeypatch.setattr(Train, "run", refused)
    assert main([*TINY, "--out", "r"]) == 1
    assert capsys.readouterr().err == (
        "real_experiments: r/.earlier-moving could not be used (Read-only file system).\n"
    )


def torchrun(*commands: list[str]) -> list[subprocess.Popen[bytes]]:
    """The processes of one run, each with its own command."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(len(commands))}
    return [
        subprocess.Popen(
            [sys.executable, "-m", "real_experiments", *command],
            env={**os.environ, **where, "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for rank, command in enumerate(commands)
    ]


@pytest.mark.slow
def test_processes_with_different_arguments_refuse_at_once(tmp_path: Path) -> None:
    command = [*TINY, "--epochs", "2", "--out", str(tmp_path / "r")]
    started = torchrun([*command, "--seed", "1"], [*command, "--seed", "2"])
    errors = [each.communicate(timeout=300)[1].decode() for each in started]
    assert [each.returncode for each in started] == [1, 1]
    assert "need the same arguments, but --seed is 1 for process 0 and 2 for process 1" in errors[0]
    assert errors[0].count("real_experiments: ") == 1
    assert "Traceback" not in "".join(errors)
    assert not (tmp_path / "r").exists()


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_dead_process_leaves_one_sentence_that_says_how_to_go_on(tmp_path: Path, victim: int) -> None:
    out = tmp_path / "r"
    command = [*TINY, "--epochs", "4000", "--out", str(out), "--checkpoint-seconds", "0.01"]
    started = torchrun(command, command)
    deadline = time.monotonic() + 300
    while not (out / "checkpoint.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    started[victim].send_signal(signal.SIGKILL)
    errors = started[1 - victim].communicate(timeout=300)[1].decode()
    started[victim].communicate()
    assert started[1 - victim].returncode == 1
    assert "Traceback" not in errors
    sentence = "the same command with --resume continues from the last checkpoint"
    assert [line.endswith(f": {sentence}.") for line in errors.splitlines()] == [True]
    Checkpoint.read(out / "checkpoint.safetensors")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux that is always full")
def test_a_full_standard_error_ends_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    last = tmp_path / "last.json"
    command = [*TINY, "--epochs", "1", "--out", str(tmp_path / "r"), "--json", str(last)]
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stderr", full)
        assert main([word for word in command if word != "--no-progress"]) == 0
    assert json.loads(last.read_text(encoding="utf-8"))["epoch"] == 1
