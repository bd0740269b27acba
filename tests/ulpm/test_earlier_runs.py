"""Runs of versions that measured fewer metrics still open, plot, tabulate and resume."""

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch

import ulpm
from ulpm.cli import main
from ulpm.metrics import METRICS
from ulpm.plotting import plot_metrics, save_figures

pytestmark = pytest.mark.usefixtures("unchecked_module")

NEW = {
    "nc1_distance",
    "nc2_norm_classifier_centered",
    "nc2_angle_classifier_centered",
    "nc2_etf_classifier_centered",
    "nc3_duality",
}
PROBLEM = ulpm.Problem([3] * 3, 4)


def without_new_metrics(path: ulpm.Trajectory) -> ulpm.Trajectory:
    metrics = {key: values for key, values in path.metrics.items() if key not in NEW}
    return dataclasses.replace(path, metrics=metrics)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run with all metrics, and the same as an earlier version would have left it."""
    folder = tmp_path_factory.mktemp("earlier")
    command = ["flow", "--class-counts", "3x3", "--feature-dim", "4", "--log10-time", "20", "--records", "20"]
    assert main([*command, "--out", str(folder / "new"), "--no-progress"]) == 0
    shutil.copytree(folder / "new", folder / "old")
    file = folder / "old" / "trajectory.safetensors"
    without_new_metrics(ulpm.Trajectory.load(file)).save(file)
    return folder / "new", folder / "old"


def test_an_earlier_run_opens_and_has_the_metrics_that_it_had(folders: tuple[Path, Path]) -> None:
    new, old = (ulpm.Trajectory.load(folder / "trajectory.safetensors") for folder in folders)
    assert set(new.metrics) == set(METRICS)
    assert set(old.metrics) == set(METRICS) - NEW
    for key, values in old.metrics.items():
        assert torch.equal(values, new.metrics[key])


def test_an_earlier_run_is_drawn_alone_and_beside_a_new_one(folders: tuple[Path, Path], tmp_path: Path) -> None:
    new, old = (ulpm.Trajectory.load(folder / "trajectory.safetensors") for folder in folders)
    for figure in (plot_metrics(old), plot_metrics(new, old, labels=["new", "old"])):
        titles = {axes.get_title() for axes in figure.axes}
        assert set(METRICS) - NEW <= titles
        assert not NEW & titles
    assert len(save_figures(old, tmp_path)) > 3
    with pytest.raises(ValueError, match="nc3_duality was given"):
        plot_metrics(old, names=["nc3_duality"])


def test_a_table_shows_a_dash_for_what_an_earlier_run_lacks(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    new, old = folders
    for order in ((new, old), (old, new)):
        assert main(["table", *map(str, order)]) == 0
        text = capsys.readouterr().out
        (line,) = [line for line in text.splitlines() if line.startswith("| `nc3_duality`")]
        cells = [cell.strip() for cell in line.split("|")[2:4]]
        assert cells[order.index(old)] == "– → –"
        assert "–" not in cells[order.index(new)]


@pytest.mark.usefixtures("unspaced")
def test_an_earlier_run_is_plotted_and_certified_by_its_commands(folders: tuple[Path, Path]) -> None:
    _, old = folders
    assert main(["plot", str(old)]) == 0
    assert main(["certify", str(old)]) == 0


def test_the_last_record_is_the_final_state_measured_by_itself() -> None:
    whole = ulpm.gradient_flow(PROBLEM, PROBLEM.random_state(seed=0), log10_time=20.0, records=20)
    state = whole.final_state
    direct = ulpm.neural_collapse(state.W, state.H, PROBLEM.labels)
    for key in METRICS:
        assert float(whole.metrics[key][-1]) == pytest.approx(float(direct[key]), rel=1e-12, abs=1e-30), key
