"""One command trains, compares and says of each pair what became of it."""

import json
from pathlib import Path

import pytest

from real_experiments import reproduce
from real_experiments.__main__ import main


def test_pairs_without_data_are_listed_as_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    options = ["--no-download", "--data", str(tmp_path / "empty"), "--json", str(tmp_path / "j.json"), "--no-progress"]
    assert main(["reproduce", "figure1", "--out", str(out), "--runs", str(tmp_path / "runs"), *options]) == 1
    assert "resnet18-mnist: not run: " in capsys.readouterr().out
    page = (out / "results.md").read_text()
    assert page.count("not run: no data") == 2
    assert set(json.loads((tmp_path / "j.json").read_text())) == {"resnet18-mnist", "resnet18-cifar10"}
    assert not (tmp_path / "runs").exists()
    assert not (out / "networks.png").exists()


def test_the_paper_has_eight_pairs() -> None:
    assert len(set(reproduce.PAIRS["all"])) == 8
    assert set(reproduce.PAIRS["figure1"]) < set(reproduce.PAIRS["all"])


@pytest.mark.slow
def test_both_networks_on_the_embedded_images(tmp_path: Path) -> None:
    out, runs = tmp_path / "out", tmp_path / "runs"
    command = ["reproduce", "sample", "--width", "8", "--subset", "200", "--epochs", "60", "--out", str(out)]
    command += ["--runs", str(runs), "--control-weight-decay", "0.01", "--no-progress"]
    assert main(command) == 0
    page = (out / "results.md").read_text()
    for name in ("resnet18-fashion-mnist-sample", "vgg13-fashion-mnist-sample"):
        assert f"## {name}" in page
        assert (out / name / "metrics.csv").read_bytes() == (runs / name / "metrics.csv").read_bytes()
        assert {"comparison.md", "comparison.png", "comparison.json"} < {f.name for f in (out / name).iterdir()}
        drift = json.loads((out / name / "comparison.json").read_text())["classifier_sum_drift"]
        assert drift["network"] < 1e-5
        assert drift["control"] > 100 * drift["network"]
    assert (out / "networks.png").exists()
    before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    assert main(command) == 0  # nothing is trained or computed again
    assert {file: file.read_bytes() for file in out.rglob("*") if file.is_file()} == before
