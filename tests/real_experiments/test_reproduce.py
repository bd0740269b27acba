"""One command trains, compares and says of each pair what became of it."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from tiny_files import idx_files, images_and_labels, publish, publish_test_split, write

from real_experiments import reproduce
from real_experiments.__main__ import main
from real_experiments.pair_result import read_results
from real_experiments.recipe import Recipe
from real_experiments.trainer import Diverged

pytestmark = pytest.mark.usefixtures("unchecked_module")


def test_pairs_without_data_are_listed_as_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    options = ["--no-download", "--data", str(tmp_path / "empty"), "--json", str(tmp_path / "j.json"), "--no-progress"]
    assert main(["reproduce", "figure1", "--out", str(out), "--runs", str(tmp_path / "runs"), *options]) == 1
    assert "resnet18-mnist-w64-seed0: not run: " in capsys.readouterr().out
    page = (out / "results.md").read_text()
    assert page.count("not run: no data") == 2
    assert set(json.loads((tmp_path / "j.json").read_text())) == {
        "resnet18-mnist-w64-seed0",
        "resnet18-cifar10-w64-seed0",
    }
    assert not (tmp_path / "runs").exists()
    assert [file.name for file in out.iterdir()] == ["results.md"]


def test_the_paper_has_eight_pairs() -> None:
    assert len(set(reproduce.PAIRS["all"])) == 8
    assert set(reproduce.PAIRS["figure1"]) < set(reproduce.PAIRS["all"])


def options(tmp_path: Path) -> list[str]:
    """A tiny network on a few images."""
    return ["--width", "4", "--subset", "40", "--test-images", "20", "--out", str(tmp_path / "out"), "--no-progress"]


def contents(out: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    folder = tmp_path_factory.mktemp("reproduce")
    command = ["reproduce", "sample", *options(folder), "--runs", str(folder / "runs")]
    command += ["--epochs", "20", "--epochs-after", "16", "--seeds", "2"]
    with pytest.MonkeyPatch.context() as patch:
        fast(patch)
        assert main(command) == 0
    return folder, command


def fast(patch: pytest.MonkeyPatch) -> None:
    """One pair, with steps so many and so long that it makes no error after some epochs."""
    patch.setitem(reproduce.PAIRS, "sample", [("vgg13", "fashion-mnist-sample")])
    recipe = reproduce.Reproduce._recipe

    def quick(*arguments: Any) -> Recipe:
        return dataclasses.replace(recipe(*arguments), batch_size=8, learning_rate=0.02)

    patch.setattr(reproduce.Reproduce, "_recipe", quick)


@pytest.fixture
def fast_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    fast(monkeypatch)


def test_every_network_has_a_table_numbers_and_a_place_on_the_page(reproduced: tuple[Path, list[str]]) -> None:
    folder, _ = reproduced
    page = (folder / "out" / "results.md").read_text()
    for seed in (0, 1):
        name = f"vgg13-fashion-mnist-sample-w4-seed{seed}"
        place = folder / "out" / name
        assert (place / "metrics.csv").read_bytes() == (folder / "runs" / name / "metrics.csv").read_bytes()
        assert name in page
        assert (place / "comparison.png").exists() == (seed == 0)
        assert "mobility_history" in json.loads((place / "comparison.json").read_text())
    assert (folder / "out" / "networks-vgg13-w4.png").exists()
    assert "nan" not in page
    for heading in ("How far each metric", "Forecasts", "Speed of the features", "Images not used"):
        assert f"## {heading}" in page


def test_a_network_is_trained_on_until_enough_epochs_follow_its_last_error(reproduced: tuple[Path, list[str]]) -> None:
    folder, _ = reproduced
    for result in read_results(folder / "out"):
        assert result.epochs_after >= 16
        assert result.rows[-1]["epoch"] == max(20, int(result.first_without_error or 0) + 16)


@pytest.mark.usefixtures("fast_recipe")
def test_results_that_are_there_are_not_computed_again_even_without_the_runs(
    reproduced: tuple[Path, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, command = reproduced
    before = contents(folder / "out")
    again = [str(tmp_path / "elsewhere") if word == str(folder / "runs") else word for word in command]
    assert main(again) == 0
    assert capsys.readouterr().out.count("it has results already") == 2
    assert contents(folder / "out") == before
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.usefixtures("fast_recipe")
def test_a_table_that_was_prolonged_before_an_interruption_is_compared_again(
    reproduced: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, command = reproduced
    before = contents(folder / "out")
    place = folder / "out" / "vgg13-fashion-mnist-sample-w4-seed1"
    numbers = json.loads((place / "comparison.json").read_text())
    numbers["recipe"]["epochs"] -= 1
    (place / "comparison.json").write_text(json.dumps(numbers))
    assert main(command) == 0
    assert capsys.readouterr().out.count("it has results already") == 1
    assert contents(folder / "out") == before


@pytest.mark.usefixtures("fast_recipe")
def test_results_of_another_recipe_are_neither_mixed_nor_replaced(
    reproduced: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, command = reproduced
    before = contents(folder / "out")
    other = ["60" if word == "40" else word for word in command]
    assert main(other) == 1
    error = capsys.readouterr().err
    assert "holds results with --subset 40 (not 60): give the same arguments, or another --out" in error
    assert error.count("\n") == 1
    assert contents(folder / "out") == before


@pytest.mark.usefixtures("fast_recipe")
def test_damaged_results_are_named(reproduced: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    folder, command = reproduced
    path = folder / "out" / "vgg13-fashion-mnist-sample-w4-seed1" / "comparison.json"
    whole = path.read_text()
    try:
        numbers = json.loads(whole)
        without = [{key: value for key, value in numbers.items() if key != gone} for gone in ("command", "late_slopes")]
        damaged = ["{", "[]", '{"recipe": 3}', *map(json.dumps, without), json.dumps(numbers | {"epoch_slopes": []})]
        for damage in damaged:
            path.write_text(damage)
            assert main(command) == 1
            error = capsys.readouterr().err
            assert f"{path} is damaged, or of another version: delete its folder" in error
            assert error.count("\n") == 1
    finally:
        path.write_text(whole)


def test_only_the_test_split_of_kmnist_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, labels = images_and_labels(100)
    publish(monkeypatch, "kmnist", idx_files(pixels, labels))
    publish_test_split(monkeypatch, "kmnist", idx_files(pixels, labels, "t10k"))
    write(tmp_path / "data" / "kmnist", idx_files(pixels, labels, "t10k"))
    monkeypatch.setitem(reproduce.PAIRS, "sample", [("vgg13", "kmnist")])
    command = ["reproduce", "sample", *options(tmp_path), "--runs", str(tmp_path / "runs"), "--epochs", "1"]
    assert main([*command, "--data", str(tmp_path / "data")]) == 0
    assert "vgg13-kmnist-w4-seed0" in (tmp_path / "out" / "results.md").read_text()
    (result,) = read_results(tmp_path / "out")
    assert result.recipe.split == "test"


def test_a_network_that_diverges_has_a_row_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    went_on = []

    def trained(self: reproduce.Reproduce, out: Path, recipe: Recipe) -> Any:
        if recipe.model == "resnet18":
            raise Diverged("the training diverged by epoch 3: lower --learning-rate.")
        went_on.append(recipe.model)
        raise Diverged("the training diverged by epoch 1: lower --learning-rate.")

    monkeypatch.setattr(reproduce.Reproduce, "_trained", trained)
    command = ["reproduce", "sample", *options(tmp_path), "--runs", str(tmp_path / "runs")]
    assert main([*command, "--json", str(tmp_path / "j.json")]) == 0
    assert went_on == ["vgg13"]
    page = (tmp_path / "out" / "results.md").read_text()
    assert "- resnet18-fashion-mnist-sample-w4-seed0: the training diverged by epoch 3" in page
    assert "- vgg13-fashion-mnist-sample-w4-seed0: the training diverged by epoch 1" in page
    assert json.loads((tmp_path / "j.json").read_text())["vgg13-fashion-mnist-sample-w4-seed0"].startswith("diverged: ")
    before = contents(tmp_path / "out")
    assert main(command) == 0  # nothing is trained again
    assert went_on == ["vgg13"]
    assert contents(tmp_path / "out") == before


@pytest.mark.slow
def test_both_networks_on_the_embedded_images(tmp_path: Path) -> None:
    out, runs = tmp_path / "out", tmp_path / "runs"
    command = ["reproduce", "sample", "--width", "8", "--subset", "200", "--epochs", "60", "--out", str(out)]
    command += ["--runs", str(runs), "--control-weight-decay", "0.01", "--no-progress"]
    assert main(command) == 0
    page = (out / "results.md").read_text()
    for name in ("resnet18-fashion-mnist-sample-w8-seed0", "vgg13-fashion-mnist-sample-w8-seed0"):
        assert name in page
        assert (out / name / "metrics.csv").read_bytes() == (runs / name / "metrics.csv").read_bytes()
        assert {"comparison.md", "comparison.png", "comparison.json"} < {f.name for f in (out / name).iterdir()}
        drift = json.loads((out / name / "comparison.json").read_text())["classifier_sum_drift"]
        assert drift["network"] < 1e-5
        assert drift["control"] > 100 * drift["network"]
    before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    assert main(command) == 0  # nothing is trained or computed again
    assert {file: file.read_bytes() for file in out.rglob("*") if file.is_file()} == before
