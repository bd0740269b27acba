"""The command leaves a page, numbers and figures, the same each time, and computes no flow twice."""

import dataclasses
import json
import math
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "comparison"))
from flow_as_network import write_run

from real_experiments import compare
from real_experiments.__main__ import main
from real_experiments.recipe import Recipe
from real_experiments.training_directory import TrainingDirectory
from ulpm.support import METRICS

pytestmark = pytest.mark.usefixtures("unchecked_module")

PAGE = {"comparison.md", "comparison.json", "comparison.png", "comparison-flow-time.png", "conservation.png"}

NEW = {"nc1_distance", "nc3_duality", *(key for key in METRICS if key.endswith("_centered"))}


def contents(out: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(out.iterdir()) if file.is_file()}


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    folder = tmp_path_factory.mktemp("compare")
    write_run(folder / "r", mobility=9.0)
    write_run(folder / "control", mobility=1.0)
    command = ["compare", str(folder / "r"), "--out", str(folder / "c"), "--control", str(folder / "control")]
    command.append("--no-progress")
    assert main(command) == 0
    return folder / "c", command


def test_a_comparison_leaves_a_page_numbers_and_figures(compared: tuple[Path, list[str]]) -> None:
    out, _ = compared
    assert set(contents(out)) == PAGE
    assert {file.name for file in (out / "flows").iterdir()} == {
        "own.safetensors",
        "own-mobile.safetensors",
        "own-mobile-end.safetensors",
        "random.safetensors",
        "random-mobile.safetensors",
    }
    result = json.loads((out / "comparison.json").read_text())
    assert result["mobility"] == pytest.approx(9.0, rel=1e-5)
    assert result["snapshot"] == 20
    assert {"torch", "ulpm"} <= result["versions"].keys()
    page = (out / "comparison.md").read_text()
    assert f"--out {out}" in page
    for heading in ("Summary", "Slopes in the terminal phase", "Forecasts", "Where network and model diverge"):
        assert f"## {heading}" in page
    assert "nan" not in page
    assert "![Metrics against the training loss](comparison.png)" in page
    assert page.count("it drifted by at most 1e-07 of ‖W‖") == 2


def test_comparing_again_gives_the_same_files_without_a_new_flow(
    compared: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    out, command = compared
    before = contents(out)
    stamps = {file: file.stat().st_mtime_ns for file in (out / "flows").iterdir()}
    assert main([*command, "--json", str(out.parent / "n.json")]) == 0
    assert "constant baseline" in capsys.readouterr().out
    assert contents(out) == before
    assert {file: file.stat().st_mtime_ns for file in (out / "flows").iterdir()} == stamps
    assert (out.parent / "n.json").read_bytes() == before["comparison.json"]


def test_mistakes_get_one_sentence_and_write_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "r", 1.0)
    for arguments, message in (
        ([str(tmp_path / "nowhere")], "could not be read"),
        ([str(tmp_path / "r"), "--control", str(tmp_path / "none")], "could not be read"),
        ([str(tmp_path / "r"), "--snapshot", "21"], "has no measurement at epoch 21"),
        ([str(tmp_path / "r"), "--rtol", "0"], "--rtol must be above 0"),
        ([str(tmp_path / "r"), "--seed", "-1"], "--seed must be at least 0"),
        ([str(tmp_path / "r"), "--device", "meta"], "device 'meta' is not available"),
    ):
        assert main(["compare", *arguments, "--out", str(tmp_path / "c"), "--no-progress"]) == 1
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert not (tmp_path / "c").exists()


def write_earlier_run(folder: Path) -> None:
    """A run without the metrics that are new since."""
    write_run(folder, 4.0)
    directory = TrainingDirectory(folder)
    rows = [{name: value for name, value in row.items() if name not in NEW} for row in directory.read_rows()]
    directory.write_rows(rows)


@pytest.mark.usefixtures("unspaced")
def test_a_run_of_an_earlier_version_is_compared_on_the_metrics_that_it_has(tmp_path: Path) -> None:
    write_earlier_run(tmp_path / "r")
    assert main(["compare", str(tmp_path / "r"), "--out", str(tmp_path / "c"), "--no-progress"]) == 0
    result = json.loads((tmp_path / "c" / "comparison.json").read_text())
    assert set(result["epoch_slopes"]) == set(METRICS) - NEW - {"nc4_mismatch"}
    page = (tmp_path / "c" / "comparison.md").read_text()
    assert "12 of 12 metrics" in page
    assert "nan" not in page


@pytest.mark.slow
@pytest.mark.usefixtures("unspaced")
def test_a_run_of_an_earlier_version_is_a_control_of_a_new_one(tmp_path: Path) -> None:
    write_earlier_run(tmp_path / "r")
    write_run(tmp_path / "now", 4.0)
    command = ["compare", str(tmp_path / "now"), "--control", str(tmp_path / "r"), "--out", str(tmp_path / "d")]
    assert main([*command, "--no-progress"]) == 0


@pytest.mark.usefixtures("unspaced")
def test_metrics_that_are_zero_from_the_start_are_left_out(tmp_path: Path) -> None:
    """Of two classes the centred means and rows are opposite to each other at any time."""
    write_run(tmp_path / "r", 4.0)
    directory = TrainingDirectory(tmp_path / "r")
    zero = {"nc2_norm_means": 0.0, "nc2_angle_means": 2e-16, "nc2_norm_classifier_centered": 0.0}
    directory.write_rows([row | zero for row in directory.read_rows()])
    assert main(["compare", str(tmp_path / "r"), "--out", str(tmp_path / "c"), "--no-progress"]) == 0
    result = json.loads((tmp_path / "c" / "comparison.json").read_text())
    assert not zero.keys() & result["epoch_slopes"].keys()
    assert "of 14 metrics" in (tmp_path / "c" / "comparison.md").read_text()


def test_an_interrupted_comparison_leaves_no_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path / "r", 4.0)

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(compare, "save_figure", interrupted)
    assert main(["compare", str(tmp_path / "r"), "--out", str(tmp_path / "c"), "--no-progress"]) == 130
    assert not (tmp_path / "c" / "comparison.json").exists()


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"optimizer": "lion"}, "--optimizer must be sgd, adam or adamw"),
        ({"model": "mine"}, "there is no model 'mine': choose one of resnet18, vgg13."),
        ({"dataset": "mine"}, "there is no data set 'mine': choose one of mnist, kmnist"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_name_in_a_configuration_that_is_unknown_here_gets_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], argument: dict[str, str], message: str
) -> None:
    write_run(tmp_path / "r", 4.0)
    directory = TrainingDirectory(tmp_path / "r")
    arguments = directory.read_config()["arguments"] | argument
    directory.write_config({"arguments": arguments})
    assert main(["compare", str(tmp_path / "r"), "--out", str(tmp_path / "c"), "--no-progress"]) == 1
    error = capsys.readouterr().err
    assert f"is not the configuration of a training run here: {message}" in error
    assert error.count("\n") == 1


@pytest.mark.usefixtures("unspaced")
@pytest.mark.parametrize("which", ["network", pytest.param("control", marks=pytest.mark.slow)])
def test_a_network_trained_with_adam_has_no_flow_time_and_the_page_says_what_became_of_its_law(
    tmp_path: Path, which: str
) -> None:
    for name in ("network", "control"):
        write_run(tmp_path / name, 4.0)
    directory = TrainingDirectory(tmp_path / which)
    recipe = Recipe.from_json(directory.read_config()["arguments"])
    arguments = dataclasses.replace(recipe, optimizer="adam").to_json()
    directory.write_config({"arguments": arguments})
    rows = directory.read_rows()
    law = {"flow_time": math.nan, "nc0_law": 0.1, "nc0_law_error": 0.5, "classifier_sum_drift": 0.5}
    directory.write_rows([row | law for row in rows])
    command = ["compare", str(tmp_path / "network"), "--out", str(tmp_path / "c"), "--no-progress"]
    assert main([*command, "--control", str(tmp_path / "control")]) == 0
    assert (tmp_path / "c" / "comparison-flow-time.png").exists() == (which == "control")
    page = (tmp_path / "c" / "comparison.md").read_text()
    assert "Adam does not conserve Σ_k w_k. " in page
    assert page.startswith("# resnet18 (width 2) on fashion-mnist-sample" + ", Adam" * (which == "network"))
    assert ("Adam, learning rate 0.01, batches" in page) == (which == "network")
    assert "it moved by up to 0.5 of ‖W‖" in " ".join(page.split())
    assert "form a simplex only if `nc0` vanishes" in " ".join(page.split())
    assert "nan" not in page


@pytest.mark.parametrize("command", ["compare", "reproduce"])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert "--json" in capsys.readouterr().out
