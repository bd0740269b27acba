"""``ulpm measure`` and ``ulpm forecast`` on files of features, from the command line to the verdict."""

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

import ulpm
from ulpm.cli import main

pytestmark = pytest.mark.usefixtures("unchecked")

NAMES = ("top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """The embedded images as features, with names as labels and class means as the classifier."""
    images, labels = ulpm.fashion_mnist_sample()
    W = torch.stack([images[labels == k].mean(0) for k in range(10)])
    b = -W.square().sum(1) / 2
    names = np.array(NAMES)[labels.numpy()]
    np.savez(tmp_path / "sample.npz", X=images, y=names, W=W, b=b, classes=np.array(NAMES))
    return tmp_path / "sample.npz"


def test_the_embedded_sample_is_measured_from_file_to_verdict(
    sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figure, result = tmp_path / "sample.png", tmp_path / "sample.json"
    assert main(["measure", str(sample), "--out", str(figure), "--json", str(result)]) == 0
    printed, found = capsys.readouterr().out, json.loads(result.read_text())
    images, labels = ulpm.fashion_mnist_sample()
    with np.load(sample) as arrays:
        W, b = torch.from_numpy(arrays["W"]), torch.from_numpy(arrays["b"])
    for key, value in ulpm.neural_collapse(W, images.T, labels, b).items():
        assert found["metrics"][key] == pytest.approx(float(value), rel=1e-9, abs=1e-12), key
    assert found["classes"] == list(NAMES)
    assert found["per_class"]["samples"] == [100] * 10
    assert found["metrics"]["nc4_mismatch"] == 0  # the classifier that takes the nearest class mean
    farthest = NAMES[int(np.argmax(found["per_class"]["spread"]))]
    assert f"Class {farthest} is farthest from collapse" in printed
    assert all(sentence in printed for sentence in found["verdict"])
    assert "| bag | 100 |" in printed
    assert figure.stat().st_size > 20_000
    assert figure.read_bytes()[:4] == b"\x89PNG"


def test_a_forecast_is_made_of_two_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    problem = ulpm.Problem([4] * 3, 4)
    path = ulpm.gradient_flow(problem, problem.random_state(seed=0, scale=2.0), log_time=1.0, records=2)
    states = {"a": problem.random_state(seed=0, scale=2.0), "b": path.final_state}
    for name, state in states.items():
        tensors = {"H": state.H, "W": state.W, "labels": problem.labels}
        safetensors.torch.save_file(tensors, tmp_path / f"{name}.safetensors")
    files = [str(tmp_path / f"{name}.safetensors") for name in states]
    options = ["--epochs", "0", "10", "--at", "20", "50", "--no-progress", "--json", str(tmp_path / "f.json")]
    assert main(["forecast", *files, *options, "--out", str(tmp_path / "f.svg")]) == 0
    printed, found = capsys.readouterr().out, json.loads((tmp_path / "f.json").read_text())
    assert "| nc1_pinv |" in printed
    assert "misclassified" not in printed
    assert "‖H‖² gained 1 times as much as ‖W‖²" in printed
    # The model forecasts itself, in the time that it takes.
    assert found["off_by"]["plain"] == pytest.approx(1, abs=1e-4)
    assert found["flows"]["plain"]["time_per_epoch"] == pytest.approx(np.e / 10, rel=1e-4)
    assert (tmp_path / "f.svg").read_text().startswith("<?xml")


def test_a_forecast_before_zero_training_error_warns_and_so_does_one_of_shrinking_features(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    problem = ulpm.Problem([10] * 3, 2)
    start = problem.random_state(seed=0, scale=0.5)
    end = ulpm.gradient_flow(problem, start, log_time=-3.0, records=2).final_state
    wrong = float(((end.W @ end.H).argmax(0) != problem.labels).double().mean())
    assert 0.1 < wrong < 1
    # The same logits, other norms.
    for name, state, factor in (("a", start, 2.0), ("b", end, 1.0)):
        np.savez(tmp_path / name, features=factor * state.H.T, labels=problem.labels, weight=state.W / factor)
    files = [str(tmp_path / f"{name}.npz") for name in "ab"]
    assert main(["forecast", *files, "--epochs", "1", "2", "--at", "4", "--rtol", "1e-3", "--no-progress"]) == 0
    printed = capsys.readouterr().out
    assert f"{100 * wrong:.2g}% of the samples are misclassified at epoch 2" in printed
    assert "‖W‖² grew but ‖H‖² fell" in printed
    assert "gained" not in printed


def test_mistakes_get_one_sentence(sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for given, words in (
        (["measure", str(tmp_path / "none.npz")], "there is no such file"),
        (["measure", str(sample), "--out", str(tmp_path / "x.gif")], "--out must end in .png, .svg or .pdf"),
        (["measure", str(sample), "--labels", "Y"], "holds no array 'Y': it holds X [1000, 784]"),
        (["measure", str(sample), "--labels", "x.txt"], "holds no array 'x.txt'"),
        (["forecast", str(sample), str(sample), "--epochs", "1", "2", "--at", "9"], "the loss must fall"),
    ):
        assert main(given) == 1
        errors = capsys.readouterr().err.splitlines()
        assert len(errors) == 1
        assert words in errors[0]
