"""Commands in the environment in which people start them: notebooks, terminals of any encoding, any matplotlibrc."""

import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest

import real_experiments
import ulpm
from real_experiments.pair_result import read_results
from real_experiments.paper_figure import plot_paper_figure
from ulpm.cli.output import in_options
from ulpm.plotting import house_style, save_figure, save_figures

FLOW = ("flow", "--class-counts", "2,1", "--feature-dim", "2", "--log-time", "1", "--records", "3", "--rtol", "1e-3")
HOSTILE = """
text.usetex: True
figure.dpi: 30000
savefig.dpi: 40000
savefig.bbox: tight
savefig.transparent: True
savefig.facecolor: black
font.size: 40
font.family: cursive
mathtext.fontset: stix
axes.facecolor: black
axes.prop_cycle: cycler('color', ['r'])
lines.linewidth: 9
svg.fonttype: none
pdf.fonttype: 42
path.simplify: False
"""


def command(*arguments, module="ulpm", **environment):
    whole = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | environment
    whole["PYTHONPATH"] = os.pathsep.join(sys.path)
    return subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, env=whole, check=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run directory without figures."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    problem = ulpm.Problem([2, 1], 2)
    folder.mkdir()
    path = ulpm.gradient_descent(problem, problem.random_state(0), steps=5, records=3, snapshots=2)
    path.save(folder / "trajectory.safetensors")
    return folder


@pytest.mark.parametrize(
    "name",
    ["module://matplotlib_inline.backend_inline"]
    + [pytest.param(name, marks=pytest.mark.slow) for name in ("qtagg", "module://nowhere.at.all", "nonsense")],
)
def test_a_backend_that_is_not_here_stops_no_command(name):
    found = command("flow", "--help", MPLBACKEND=name, PYTHONIOENCODING="ascii")
    assert found.returncode == 0, found.stderr
    assert b"--class-counts" in found.stdout


@pytest.mark.parametrize("module", ["theory_experiments", pytest.param("real_experiments", marks=pytest.mark.slow)])
def test_nor_does_it_stop_an_experiment_in_a_terminal_of_any_encoding(module):
    found = command("--help", module=module, MPLBACKEND="module://nowhere.at.all", PYTHONIOENCODING="ascii")
    assert found.returncode == 0, found.stderr
    assert b"usage: python -m " + module.encode() in found.stdout


@pytest.mark.slow
def test_the_figures_of_experiments_are_the_same_files_in_a_hostile_environment(tmp_path):
    rc = tmp_path / "matplotlibrc"
    rc.write_text(HOSTILE)
    for out, environment in (("plain", {}), ("hostile", {"MATPLOTLIBRC": str(rc), "MPLBACKEND": "nonsense"})):
        name = ("conserved_quantities", "--quick", "--out", str(tmp_path / out))
        found = command(*name, module="theory_experiments", **environment)
        assert found.returncode == 0, found.stderr
    first, second = (tmp_path / out / "conserved_quantities.png" for out in ("plain", "hostile"))
    assert first.read_bytes() == second.read_bytes()


def test_figures_of_trained_networks_do_not_depend_on_the_style_in_use(tmp_path):
    results = read_results(Path(real_experiments.__file__).parent / "results")[:2]
    save_figure(plot_paper_figure(results), tmp_path / "plain.svg", "svg")
    with matplotlib.rc_context({"font.size": 40, "lines.linewidth": 9, "axes.facecolor": "black"}):
        save_figure(plot_paper_figure(results), tmp_path / "hostile.svg", "svg")
    assert (tmp_path / "plain.svg").read_bytes() == (tmp_path / "hostile.svg").read_bytes()


@pytest.mark.slow
def test_figures_are_the_same_files_in_a_hostile_environment(run, tmp_path):
    rc = tmp_path / "matplotlibrc"
    rc.write_text(HOSTILE)
    plain, hostile = tmp_path / "plain", tmp_path / "hostile"
    formats = ("--formats", "png", "svg", "pdf")
    first = command("plot", str(run), "--out", str(plain), *formats)
    backend = "module://matplotlib_inline.backend_inline"
    second = command("plot", str(run), "--out", str(hostile), *formats, MPLBACKEND=backend, MATPLOTLIBRC=str(rc))
    assert (first.returncode, second.returncode) == (0, 0), second.stderr
    names = sorted(file.name for file in plain.iterdir())
    assert len(names) == 18
    for name in names:
        assert (plain / name).read_bytes() == (hostile / name).read_bytes(), name


@pytest.mark.usefixtures("unchecked")
def test_figures_do_not_depend_on_the_style_in_use_and_leave_it_alone(run, tmp_path):
    path = ulpm.Trajectory.load(run / "trajectory.safetensors")
    plain = save_figures(path, tmp_path / "plain", ["svg"])
    hostile = {"text.usetex": True, "figure.dpi": 30000, "savefig.dpi": 40000, "font.size": 40, "lines.linewidth": 9}
    with matplotlib.rc_context(hostile):
        drawn = save_figures(path, tmp_path / "hostile", ["svg"])
        assert matplotlib.rcParams["font.size"] == 40
        assert matplotlib.rcParams["svg.hashsalt"] is None
    for one, other in zip(plain, drawn, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_the_house_style_ends_with_an_exception():
    @house_style()
    def broken():
        assert matplotlib.rcParams["font.size"] == 10
        raise KeyError

    with matplotlib.rc_context({"font.size": 40}):
        with pytest.raises(KeyError):
            broken()
        assert matplotlib.rcParams["font.size"] == 40


@pytest.mark.parametrize(
    "encoding",
    ["ascii"]
    + [
        pytest.param(name, marks=pytest.mark.slow)
        for name in ("cp1252", "latin-1", "koi8-r", "cp437", "utf-16", "shift_jis", "utf-8")
    ],
)
def test_output_of_any_encoding_ends_no_command(run, encoding, tmp_path):
    results = tmp_path / "certificate.json"
    found = command("certify", str(run), "--json", str(results), PYTHONIOENCODING=encoding)
    assert found.returncode == 0, found.stderr
    assert "certificate.md" in found.stdout.decode(encoding)
    assert results.exists()
    assert (run / "certificate.md").read_text(encoding="utf-8").startswith("|")
    assert (run / "certificate.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "ascii:strict"])
@pytest.mark.parametrize("arguments", [("--help",), ("flow", "--help"), ("table", "RUN"), ("certify", "nowhere…")])
def test_other_commands_end_as_in_utf_8(run, arguments, encoding):
    given = [str(run) if word == "RUN" else word for word in arguments]
    found, reference = (command(*given, PYTHONIOENCODING=name) for name in (encoding, "utf-8"))
    assert found.returncode == reference.returncode
    assert len(found.stdout) > 0 or len(found.stderr) > 0
    assert b"Traceback" not in found.stderr


@pytest.mark.parametrize(
    "columns", ["1"] + [pytest.param(n, marks=pytest.mark.slow) for n in ("2", "3", "4", "5", "6")]
)
@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("ulpm", ["--help"]),
        pytest.param("ulpm", ["flow", "--help"], marks=pytest.mark.slow),
        pytest.param("ulpm", ["flow", "--nonsense"], marks=pytest.mark.slow),
        pytest.param("real_experiments", ["train", "--help"], marks=pytest.mark.slow),
        pytest.param("theory_experiments", ["--help"], marks=pytest.mark.slow),
    ],
)
def test_help_ends_in_a_terminal_of_any_width(module, arguments, columns):
    found = command(*arguments, module=module, COLUMNS=columns)
    said = (found.stdout + found.stderr).decode()
    assert found.returncode == (2 if "--nonsense" in arguments else 0)
    # What is framed is as wide as in forty columns.
    assert {len(line) for line in said.splitlines() if line.startswith("╭")} == {40}


@pytest.mark.parametrize("buffered", [pytest.param("", marks=pytest.mark.slow), "1"])
def test_help_that_nobody_reads_to_the_end_says_nothing_more(buffered):
    whole = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": buffered}
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing) as output:
        found = subprocess.run(
            [sys.executable, "-m", "ulpm", "flow", "--help"], stdout=output, stderr=subprocess.PIPE, env=whole
        )
    assert (found.returncode, found.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("feature_dim must be at least 1, but 0 was given.", "--feature-dim must be at least 1, but 0 was given."),
        ("class_counts[1] must be at least 1.", "--class-counts must be at least 1."),
        ("exactly one of log_time, log10_time and log_loss", "exactly one of --log-time, --log10-time and --log-loss"),
        ("seed must be below 2^63, but 9 was given.", "--seed must be below 2^63, but 9 was given."),
        ("raise max_steps, or ask", "raise --max-steps, or ask"),
        ("the number format: raise rtol, or use", "the number format: raise --rtol, or use"),
        ("but got log_time and log_loss.", "but got --log-time and --log-loss."),
        ("log_time.npz could not be read", "log_time.npz could not be read"),
        ("runs/log_time/x could not be read", "runs/log_time/x could not be read"),
        ("features of several runs", "features of several runs"),
        ("the features are all 0", "the features are all 0"),
        ("--log-time must be", "--log-time must be"),
    ],
)
def test_sentences_of_commands_name_their_options(sentence, expected):
    assert in_options(sentence) == expected


def test_a_command_names_its_options_where_the_library_names_its_arguments(capsys, tmp_path):
    from ulpm.cli import main

    assert main([*FLOW[:3], "--feature-dim", "0", "--log-time", "1", "--out", str(tmp_path / "a")]) == 1
    assert "ulpm: --feature-dim must be at least 1" in capsys.readouterr().err
    assert main([*FLOW, "--log-loss", "-3", "--out", str(tmp_path / "a")]) == 1
    assert "exactly one of --log-time, --log10-time and --log-loss must be given" in capsys.readouterr().err
    assert main([*FLOW, "--max-steps", "1", "--no-figures", "--out", str(tmp_path / "b"), "--no-progress"]) == 1
    assert "raise --max-steps" in capsys.readouterr().out


def test_a_notebook_without_widgets_gets_a_line_of_text(monkeypatch, capsys):
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    problem = ulpm.Problem([2, 1], 2)
    path = ulpm.gradient_flow(problem, problem.random_state(0), log_time=0.1, records=2, rtol=1e-3, progress=True)
    assert path.finished
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "The gradient flow runs without a progress bar, which needs ipywidgets in a notebook.\n"
