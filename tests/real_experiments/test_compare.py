"""The command leaves a page, numbers and figures, the same each time, and computes no flow twice."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "comparison"))
from flow_as_network import write_run

from real_experiments.__main__ import main

PAGE = {"comparison.md", "comparison.json", "comparison.png", "comparison-flow-time.png", "conservation.png"}


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
        "random.safetensors",
        "random-mobile.safetensors",
    }
    result = json.loads((out / "comparison.json").read_text())
    assert result["mobility"] == pytest.approx(9.0, rel=1e-5)
    assert result["snapshot"] == 20
    assert {"torch", "ulpm"} <= result["versions"].keys()
    page = (out / "comparison.md").read_text()
    assert f"--out {out}" in page
    for heading in ("In words", "Slopes in the terminal phase", "Forecasts", "Where network and model part"):
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
    assert "closer" in capsys.readouterr().out
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


@pytest.mark.parametrize("command", ["compare", "reproduce"])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert "--json" in capsys.readouterr().out
