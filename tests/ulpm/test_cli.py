"""The commands do what they say, and answer every mistake with one sentence and a non-zero exit."""

import dataclasses
import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import tyro

import ulpm
from ulpm.cli import main
from ulpm.cli.demo import Demo
from ulpm.cli.flow import Resume
from ulpm.cli.results import Plot

# Errors are those that a user sees, and the flow is as fast as it is for a user.
pytestmark = pytest.mark.usefixtures("unchecked")

QUIET = ("--no-progress", "--no-figures")
SMALL = ("flow", "--class-counts", "3,2,2", "--feature-dim", "4", "--log-time", "3", "--records", "5")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    out = tmp_path / "a"
    assert main([*SMALL, *QUIET, "--out", str(out)]) == 0
    return out


def test_flow_saves_what_the_library_computes(run: Path) -> None:
    problem = ulpm.Problem([3, 2, 2], 4)
    expected = ulpm.gradient_flow(problem, problem.random_state(seed=0), log_time=3.0, records=5)
    path = ulpm.Trajectory.load(run / "trajectory.safetensors")
    assert all(torch.equal(path.columns()[name], column) for name, column in expected.columns().items())
    assert {file.name for file in run.iterdir()} == {
        "config.json",
        "records.csv",
        "results.md",
        "trajectory.safetensors",
    }
    assert (run / "records.csv").read_text().count("\n") == 6
    arguments = json.loads((run / "config.json").read_text())["arguments"]
    assert arguments["seed"] == 0
    assert path.config["arguments"] == arguments


def test_flow_draws_figures_and_reports_in_json(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    assert main([*SMALL, "--no-progress", "--out", str(tmp_path / "a"), "--json", str(file)]) == 0
    result = json.loads(file.read_text())
    assert result["finished"] is True
    assert result["metrics"]["nc4_mismatch"] >= 0
    pictures = [name for name in result["files"] if name.endswith(".png")]
    assert len(pictures) >= 5
    assert all(Path(name).stat().st_size > 5000 for name in result["files"] if name.endswith(".png"))


def test_flow_starts_from_images_files_and_replicas(tmp_path: Path) -> None:
    features = np.random.default_rng(0).normal(size=(8, 3))
    np.savez(tmp_path / "f.npz", features=features, labels=np.array([0, 1] * 4))
    end = ("--log-time", "1", "--records", "3", *QUIET, "--snapshots", "0")
    assert main(["flow", "--features", str(tmp_path / "f.npz"), *end, "--out", str(tmp_path / "file")]) == 0
    assert (
        main(["flow", "--features", "fashion-mnist-sample", "--scale", "1", *end, "--out", str(tmp_path / "images")])
        == 0
    )
    batch = ("--class-counts", "2x3", "--feature-dim", "3", "--replicas", "4", "--dtype", "float32", "--rtol", "1e-4")
    assert main(["flow", *batch, *end, "--out", str(tmp_path / "batch")]) == 0
    load = ulpm.Trajectory.load
    assert load(tmp_path / "file" / "trajectory.safetensors").problem == ulpm.Problem([4, 4], 3)
    assert load(tmp_path / "images" / "trajectory.safetensors").problem.num_samples == 1000
    assert load(tmp_path / "batch" / "trajectory.safetensors").log_time.shape == (3, 4)


@pytest.mark.parametrize(
    ("factor", "options", "hinted"), [(100, [], True), (1, [], False), (100, ["--scale", "3"], False)]
)
def test_features_as_large_as_raw_ones_come_with_a_hint_at_scale(tmp_path, capsys, factor, options, hinted):
    features = factor * np.random.default_rng(0).normal(size=(8, 3))
    np.savez(tmp_path / "f.npz", features=features, labels=np.array([0, 1] * 4))
    arguments = ["flow", "--features", str(tmp_path / "f.npz"), "--log-time", "-20", "--records", "2", "--no-figures"]
    assert main([*arguments, *options, "--out", str(tmp_path / "run")]) == 0
    assert ("--scale 1 would bring them" in capsys.readouterr().out) == hinted


@pytest.mark.usefixtures("unspaced")
def test_figures_of_several_runs_do_not_replace_those_of_one(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run, tmp_path / "other")
    assert main(["plot", str(run)]) == 0
    before = (run / "metrics.png").read_bytes()
    assert main(["plot", str(run), str(tmp_path / "other")]) == 1
    assert "say where to draw with --out" in capsys.readouterr().err
    assert (run / "metrics.png").read_bytes() == before


@pytest.mark.usefixtures("unspaced")
def test_plot_and_table_take_several_runs(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, *QUIET, "--seed", "1", "--out", str(tmp_path / "b")]) == 0
    both = [str(run), str(tmp_path / "b")]
    assert main(["plot", *both, "--out", str(tmp_path / "figures"), "--json", str(tmp_path / "plot.json")]) == 0
    drawn = json.loads((tmp_path / "plot.json").read_text())["figures"]
    assert sorted(drawn) == sorted(str(file) for file in (tmp_path / "figures").iterdir())
    capsys.readouterr()
    assert main(["table", *both, "--out", str(tmp_path / "t.md"), "--json", str(tmp_path / "t.json")]) == 0
    assert "nc1_pinv" in capsys.readouterr().out
    assert (tmp_path / "t.md").read_text().startswith("| | a | b |")
    assert json.loads((tmp_path / "t.json").read_text()).keys() == {"a", "b"}


def test_certify_shows_and_draws_the_closing_bounds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, file = tmp_path / "a", tmp_path / "certificate.json"
    long = ("flow", "--class-counts", "3x3", "--feature-dim", "4", "--log-time", "1000", "--records", "30")
    assert main([*long, *QUIET, "--out", str(run)]) == 0
    capsys.readouterr()
    assert main(["certify", str(run), "--json", str(file)]) == 0
    table = (run / "certificate.md").read_text()
    assert capsys.readouterr().out.startswith(table)
    assert table.startswith("| log10 t |")
    assert (run / "certificate.png").stat().st_size > 5000
    result = json.loads(file.read_text())
    path = ulpm.Trajectory.load(run / "trajectory.safetensors")
    assert path.certificate is not None
    assert result["records"]["lower_bound"] == path.certificate.lower_bound.tolist()
    assert result["lower_bound"] <= 2 * 3**0.5 <= result["upper_bound"]
    assert result["gap"] < 1e-3


def test_an_existing_run_is_kept_unless_overwriting_is_asked_for_and_succeeds(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {file.name: file.read_bytes() for file in run.iterdir()}
    assert main([*SMALL, *QUIET, "--seed", "5", "--out", str(run)]) == 1
    assert "already holds a run" in capsys.readouterr().err
    wrong = ("--overwrite", "--rtol", "-1")
    assert main([*SMALL, *QUIET, *wrong, "--out", str(run)]) == 1
    assert {file.name: file.read_bytes() for file in run.iterdir()} == before
    assert main([*SMALL, *QUIET, "--seed", "5", "--overwrite", "--out", str(run)]) == 0
    assert (run / "trajectory.safetensors").read_bytes() != before["trajectory.safetensors"]


def test_mistakes_do_not_cost_a_checkpoint(run: Path) -> None:
    (run / "checkpoint.safetensors").write_bytes(b"precious")
    for mistake in (["--checkpoint-seconds", "0"], ["--rtol", "0"], ["--device", "meta"], ["--records", "1"]):
        assert main([*SMALL, *QUIET, *mistake, "--overwrite", "--out", str(run)]) == 1
    assert (run / "checkpoint.safetensors").read_bytes() == b"precious"


def test_a_trajectory_without_a_configuration_is_not_overwritten_either(run: Path) -> None:
    (run / "config.json").unlink()
    assert main([*SMALL, *QUIET, "--out", str(run)]) == 1


def test_a_run_out_of_steps_goes_on_when_given_more(tmp_path: Path) -> None:
    assert main([*SMALL, *QUIET, "--max-steps", "3", "--out", str(tmp_path / "a")]) == 1
    assert main(["resume", str(tmp_path / "a"), "--no-progress"]) == 1
    assert main(["resume", str(tmp_path / "a"), "--no-progress", "--max-steps", "1000"]) == 0
    assert main([*SMALL, *QUIET, "--out", str(tmp_path / "b")]) == 0
    assert (tmp_path / "a" / "records.csv").read_text() == (tmp_path / "b" / "records.csv").read_text()


def test_names_with_brackets_are_printed_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, *QUIET, "--out", str(tmp_path / "y[red]z[")]) == 0
    assert "y[red]z[" in capsys.readouterr().out


def test_a_run_that_does_not_reach_its_end_is_saved_and_exits_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*SMALL, *QUIET, "--max-steps", "2", "--out", str(tmp_path / "a")]) == 1
    assert "raise --max-steps" in capsys.readouterr().out
    assert (tmp_path / "a" / "trajectory.safetensors").exists()


MISTAKES = {
    "no end": (["flow", "--class-counts", "2,2", "--feature-dim", "2"], "exactly one of --log-time"),
    "two ends": ([*SMALL, "--log-loss", "-3"], "but got --log-time and --log-loss"),
    "one class": (["flow", "--class-counts", "5", "--feature-dim", "2", "--log-time", "1"], "at least 2 classes"),
    "empty class": (["flow", "--class-counts", "5,0", "--feature-dim", "2", "--log-time", "1"], "must be at least 1"),
    "no dimension": (
        ["flow", "--class-counts", "5,5", "--feature-dim", "0", "--log-time", "1"],
        "ulpm: --feature-dim",
    ),
    "class counts": (["flow", "--class-counts", "5y5", "--feature-dim", "2", "--log-time", "1"], "written like 50x10"),
    "no start": (["flow", "--log-time", "1"], "a start is needed"),
    "two starts": ([*SMALL, "--features", "fashion-mnist-sample"], "brings its own sizes"),
    "tolerance": ([*SMALL, "--rtol", "0"], "--rtol must be above 0"),
    "not a number": ([*SMALL, "--rtol", "nan"], "--rtol must be above 0"),
    "tolerance of float32": ([*SMALL, "--dtype", "float32", "--rtol", "1e-9"], "rtol must be at least"),
    "device": ([*SMALL, "--device", "tpu9"], "device 'tpu9' is not available"),
    "seed": ([*SMALL, "--seed", "-1"], "--seed must be at least 0"),
    "records": ([*SMALL, "--records", "1"], "records must be at least 2"),
    "missing file": (["flow", "--features", "nowhere.npz", "--log-time", "1"], "there is no such file"),
    "a device without numbers": ([*SMALL, "--device", "meta"], "device 'meta' is not available"),
    "a huge seed": ([*SMALL, "--seed", "99999999999999999999"], "seed must be below 2^63"),
    "too much memory": ([*SMALL, "--records", "10000000000000"], "fewer records"),
    "checkpoints": ([*SMALL, "--checkpoint-seconds", "0"], "--checkpoint-seconds must be above 0"),
    "scale": ([*SMALL, "--scale", "0"], "--scale must be above 0"),
    "loss above the start": ([*SMALL[:5], "--log-loss", "100"], "--log-loss must lie below that of the start"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_one_sentence_a_non_zero_exit_and_writes_nothing(
    mistake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, message = MISTAKES[mistake]
    assert main([*arguments, *QUIET, "--out", str(tmp_path / "a")]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("ulpm: ")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", [["--log10-time", "10"], ["--seed", "4"]])
def test_options_of_an_own_setting_are_refused_without_one(
    option: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", *option, "--out", str(tmp_path / "page.html")]) == 1
    message = "ulpm: --log10-time and --seed need your own setting: --class-counts and --feature-dim.\n"
    assert capsys.readouterr().err == message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["plot", "table", "resume", "certify"])
def test_missing_or_damaged_runs_get_one_sentence(
    command: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, str(tmp_path / "nowhere")]) == 1
    file = run / "trajectory.safetensors"
    file.write_bytes(file.read_bytes()[:20])
    assert main([command, str(run)]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    assert all(error.startswith("ulpm: ") and "Traceback" not in error for error in errors)


@pytest.mark.parametrize("command", ["flow", "resume", "plot", "table", "certify"])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert f"usage: ulpm {command}" in text
    assert "--json" in text


@pytest.mark.parametrize("name", ["page.html", "my page.html", "it's; $(ls).html"])
def test_a_page_names_the_command_that_makes_it_again(name: str) -> None:
    given = Demo(Path("talks") / name, "5, 5", 3, log10_time=1234567.0, seed=2)
    words = shlex.split(given._again())
    assert words[:2] == ["ulpm", "demo"]
    assert tyro.cli(Demo, args=words[2:]) == dataclasses.replace(given, out=Path(name))


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (["resume", "r"], "interrupted; `ulpm resume` continues a flow from its last checkpoint."),
        (["plot", "r"], "interrupted."),
    ],
)
def test_only_commands_of_a_flow_name_its_checkpoint_when_interrupted(command, sentence, monkeypatch, capsys):
    def interrupted(_):
        raise KeyboardInterrupt

    for each in (Resume, Plot):
        monkeypatch.setattr(each, "run", interrupted)
    assert main(command) == 130
    assert capsys.readouterr().err == f"ulpm: {sentence}\n"
