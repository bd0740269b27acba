"""A training run becomes the small file of the demo page, the shipped one among them."""

import importlib.resources
from pathlib import Path

import numpy as np
import pytest
import torch

import ulpm
from real_experiments.demo_network import main
from real_experiments.training_directory import TrainingDirectory
from ulpm.demo.network import network_scenario

COLUMNS = ("train_loss", "train_error", "nc1_pinv", "nc2_angle_means")
BOUNDS = {"certificate_lower_bound": 3.0, "certificate_nuclear_upper_bound": 9.0}
ARGUMENTS = {
    "model": "resnet18",
    "width": 4,
    "dataset": "mnist",
    "learning_rate": 0.01,
    "momentum": 0.3,
    "batch_size": 8,
    "weight_decay": 0.0,
    "seed": 0,
}


def made_run(folder: Path, counts: list[int], epochs: int) -> Path:
    """A training directory whose classifier and features move along a line to collapse."""
    directory = TrainingDirectory(folder)
    config = {"arguments": ARGUMENTS, "dataset": {"class_counts": counts}, "num_samples": sum(counts)}
    directory.write_config(config)
    problem = ulpm.Problem(counts, 8)
    start, end = problem.random_state(0), ulpm.seli_state(problem, norm=20.0)
    for epoch in range(1, epochs + 1):
        share = epoch / epochs
        W = (1 - share) * start.W + share * end.W + 3.0  # a common vector, which changes no prediction
        H = (1 - share) * start.H + share * end.H + 5.0
        directory.write_snapshot(epoch, {"W": W, "H": H, "labels": problem.labels}, {})
    rows = [{"epoch": epoch, **dict.fromkeys(COLUMNS, 0.5), **BOUNDS} for epoch in range(1, epochs + 1)]
    directory.write_rows(rows)
    return folder


def test_a_collapsed_network_lies_on_the_simplex_whatever_is_added_to_it(tmp_path: Path) -> None:
    run = made_run(tmp_path / "r", [12] * 4, epochs=3)
    assert main([str(run), "--out", str(tmp_path / "n.npz")]) == 0
    with np.load(tmp_path / "n.npz", allow_pickle=False) as found:
        assert found["epochs"].tolist() == [1, 2, 3]
        assert np.allclose(found["rows"][-1], found["target"], atol=1e-5)
        assert np.allclose(found["means"][-1], found["target"], atol=1e-5)
        assert np.allclose(found["features"][-1], found["target"][found["feature_classes"]], atol=1e-5)
        assert not np.allclose(found["means"][0], found["target"], atol=0.01)
        assert found["nc3_duality"][-1] < 1e-6 < 0.1 < found["nc3_duality"][0]
        assert found["feature_classes"].tolist() == sorted([0, 1, 2, 3] * 10)


def test_unequal_classes_and_short_runs_get_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mistakes = {
        "draws classes of equal size": made_run(tmp_path / "a", [4, 2], epochs=2),
        "fewer than 2 snapshots": made_run(tmp_path / "b", [2, 2], epochs=1),
        "could not be read": tmp_path / "nowhere",
    }
    for message, run in mistakes.items():
        assert main([str(run), "--out", str(tmp_path / "n.npz")]) == 1
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert not (tmp_path / "n.npz").exists()


def test_the_shipped_network_is_small_and_collapses_by_the_epoch() -> None:
    resource = importlib.resources.files("ulpm") / "data" / "demo_network.npz"
    assert len(resource.read_bytes()) < 150_000
    scenario = network_scenario()
    scene = scenario.scene
    spread = (scene.features - scene.means[:, scene.feature_classes]).norm(dim=2).mean(1)
    assert spread[-1] < 0.5 * spread[0]
    assert torch.allclose(scene.means.mean(1), torch.zeros(3, dtype=torch.float64), atol=1e-5)
    assert scenario.clock.positions == sorted(scenario.clock.positions)
    assert "ResNet18" in scenario.caption
    assert [curve.name for curve in scenario.panels[0].curves][-1] == "NC3 self-duality"
