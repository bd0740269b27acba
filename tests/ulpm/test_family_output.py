"""Tables, figures and the command line with members of the family that come to rest."""

import json

import pytest

import ulpm
from ulpm.cli import main
from ulpm.plotting import plot_certificate, plot_invariants, plot_loss, plot_margin, save_figures
from ulpm.summary import certificate_table, markdown_table, summarise

pytestmark = pytest.mark.usefixtures("unchecked_module")  # checks cost several times what the flows themselves do

MEMBERS = {
    "decay": ulpm.Problem([3, 2, 2], 3, weight_decay=(5e-3, 1e-3), bias=True, reduction="mean"),
    "smoothing": ulpm.Problem([3, 3], 2, loss=ulpm.CrossEntropy(label_smoothing=0.1)),
    "squared": ulpm.Problem([3, 3], 2, loss=ulpm.SquaredError()),
    "focal": ulpm.Problem([3, 3], 2, loss=ulpm.Focal(gamma=2.0), weight_decay=(1e-2, 1e-2)),
}
QUICK = ("decay", "squared")


@pytest.fixture(scope="module")
def paths():
    found = {}
    for name, problem in MEMBERS.items():
        found[name] = ulpm.gradient_flow(problem, problem.random_state(seed=0), log10_time=50, records=20, snapshots=2)
    return found


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in MEMBERS]
)
def test_a_run_that_comes_to_rest_has_all_its_figures_and_no_limits_of_late_time(paths, name, tmp_path):
    path = paths[name]
    files = {file.name for file in save_figures(path, tmp_path)}
    assert ("certificate.png" in files) == (name != "focal")
    assert {"metrics.png", "loss.png", "margin.png", "invariants.png", "collapse.png"} <= files
    table = markdown_table({"run": path})
    assert "come to rest" in table
    assert "v*" not in table
    assert path.problem.model in table
    assert json.dumps(summarise(path), allow_nan=False)
    texts = [text.get_text() for figure in (plot_loss(path), plot_margin(path)) for text in figure.findobj(match=_text)]
    assert not any("measured" in text or "propto" in text for text in texts)


def _text(artist):
    return hasattr(artist, "get_text")


def test_a_quantity_that_is_not_conserved_is_said_to_be_none(paths):
    figure = plot_invariants(paths["decay"])
    assert any(text.get_text() == "not conserved" for text in figure.findobj(match=_text))


def test_certificates_of_a_minimum_speak_of_it_and_not_of_the_margin_problem(paths):
    table = certificate_table(paths["decay"])
    assert "Φ*" in table
    assert "v*" not in table
    best = ulpm.optimum(MEMBERS["decay"]).value
    bounds = paths["decay"].certificate
    assert float(bounds.lower_bound.max()) <= best * (1 + 1e-12)
    assert float(bounds.gap[-1]) < 1e-8
    texts = [text.get_text() for text in plot_certificate(paths["decay"]).findobj(match=_text)]
    assert any("Phi" in text for text in texts)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--weight-decay", "-1", "0"], "--weight-decay must be at least 0 and below 1e+100, but -1.0"),
        (["--label-smoothing", "1"], "--label-smoothing must be at least 0 and below 1"),
        (["--loss", "focal", "--gamma", "-1"], "--gamma must be at least 0"),
        (["--loss", "focal", "--label-smoothing", "0.1"], "--label-smoothing belongs to --loss cross-entropy"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_one_sentence(options, words, tmp_path, capsys):
    command = ["flow", "--class-counts", "2,2", "--feature-dim", "2", "--log-time", "1", "--out", str(tmp_path / "r")]
    assert main([*command, *options]) != 0
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert words in said[0]
    assert not (tmp_path / "r").exists()


def test_the_command_line_runs_and_resumes_a_member(tmp_path, capsys):
    command = [
        "flow",
        "--class-counts",
        "3,2",
        "--feature-dim",
        "3",
        "--log10-time",
        "50",
        "--records",
        "5",
        "--no-figures",
    ]
    options = ["--loss", "squared-error", "--weight-decay", "5e-3", "1e-3", "--bias", "--reduction", "mean"]
    assert main([*command, *options, "--no-progress", "--out", str(tmp_path / "r")]) == 0
    path = ulpm.Trajectory.load(tmp_path / "r" / "trajectory.safetensors")
    assert path.status is ulpm.Status.CONVERGED
    want = ulpm.Problem([3, 2], 3, loss=ulpm.SquaredError(), weight_decay=(5e-3, 1e-3), bias=True, reduction="mean")
    assert path.problem == want
    assert main(["resume", str(tmp_path / "r"), "--no-progress"]) == 0
