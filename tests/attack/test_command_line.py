"""Any options, however hostile: an exit status and one sentence, never a traceback, and an earlier run stays."""

import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ulpm.cli import main

pytestmark = pytest.mark.usefixtures("unchecked")

CALLS = [40, pytest.param(500, marks=pytest.mark.slow)]
HOSTILE = (
    *("", " ", "-", "--", "nan", "inf", "-inf", "-1", "0", "1e400", "1e-400", "1.5", "0x10", "٣", "None", "True"),
    *(
        "9" * 400,
        "9" * 5000,
        "x" * 300,
        "a|b<c>$\\frac{$",
        "\udcff",
        "\x1b[31m",
        "/dev/null/x",
        ".",
        "..",
        "1x100000000",
    ),
    *(
        "5x",
        "x5",
        "5,0",
        "5,-1",
        "1,1",
        "99999999999x2",
        "1e3",
        "[]",
        "{}",
        "null",
        "'",
        '"',
        "$HOME",
        "~",
        "%s",
        "{0}",
    ),
)
FLOW_OPTIONS = (
    *("--class-counts", "--feature-dim", "--features", "--log10-time", "--log-time", "--log-loss", "--seed", "--scale"),
    *("--replicas", "--rtol", "--records", "--snapshots", "--max-steps", "--dtype", "--device", "--checkpoint-seconds"),
    *("--out", "--json", "--unheard"),
)
OTHERS = {
    "resume": ("--device", "--max-steps", "--checkpoint-seconds", "--json"),
    "plot": ("--out", "--formats", "--json"),
    "table": ("--out", "--json"),
    "certify": ("--json", "--unheard"),
    "measure": ("--features", "--labels", "--classifier", "--bias", "--predictions", "--out", "--json"),
    "demo": ("--class-counts", "--feature-dim", "--log10-time", "--seed", "--json"),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "a"
    sizes = ("--class-counts", "2,2", "--feature-dim", "2", "--log-time", "1", "--records", "3")
    assert main(["flow", *sizes, "--no-progress", "--no-figures", "--out", str(out)]) == 0
    return out


def hostile(option: str, rng: random.Random) -> str:
    value = rng.choice(HOSTILE)
    # Steps that are allowed are taken, and what is drawn takes its time.
    return "7" if option == "--max-steps" and value.isdigit() else value


def words(rng: random.Random) -> list[str]:
    """A command with one to three options that it was not made for; the file names are below the current folder."""
    command = rng.choice(("flow", "flow", "flow", *OTHERS))
    if command == "flow":
        given = {"--class-counts": "2,2", "--feature-dim": "2", "--log-time": "1", "--records": "3"}
        given |= {"--max-steps": "20", "--out": f"out{rng.randrange(3)}"}
        for option in rng.sample(FLOW_OPTIONS, rng.randint(1, 3)):
            given[option] = hostile(option, rng)
        flags = rng.choice(([], ["--overwrite"]))
        return ["flow", "--no-progress", "--no-figures", *flags, *(word for pair in given.items() for word in pair)]
    given = {option: hostile(option, rng) for option in rng.sample(OTHERS[command], rng.randint(1, 2))}
    options = [word for pair in given.items() for word in pair]
    if command == "demo":
        # A setting of one's own lacks its sizes or is refused: pages that are made take seconds.
        return ["demo", "--out", "demo.html", "--feature-dim", "-3", *options]
    # Figures take a second each: none are drawn for a run that is not there.
    place = "nowhere" if command in ("plot", "certify") else rng.choice(("run", "nowhere", *HOSTILE))
    return [command, *options, place]


PARSER = 2  # what the parser refuses itself, with its own words and the usage


def status_of(given: list[str]) -> int:
    """The exit status of a command, also where it is the parser that ends it."""
    try:
        return main(given)
    except SystemExit as ended:
        return int(ended.code or 0)


@pytest.mark.parametrize("number", CALLS)
def test_any_command_line_ends_with_a_status_and_at_most_one_sentence(
    number: int, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run, tmp_path / "here" / "run")
    monkeypatch.chdir(tmp_path / "here")
    result = (run / "trajectory.safetensors").read_bytes()
    for seed in range(number):
        given = words(random.Random(seed))
        status = status_of(given)
        if status == PARSER:
            capsys.readouterr()
            continue
        errors = capsys.readouterr().err.splitlines()
        assert status in (0, 1), f"seed {seed}: {given}"
        assert len(errors) <= 1, f"seed {seed}: {given}: {errors}"
        assert all(error.startswith("ulpm: ") and len(error) < 10_000 for error in errors), f"seed {seed}: {errors}"
        assert (tmp_path / "here" / "run" / "trajectory.safetensors").read_bytes() == result, f"seed {seed}: {given}"


ENVIRONMENTS = {
    "a full standard error": "2>/dev/full",
    "a closed standard error": "2>&-",
    "a reader that goes away": "2>&1 | head -c 0",
    "a rank without a world": "RANK=3",
}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux that is always full")
@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=[] if "RANK" in ENVIRONMENTS[case] else pytest.mark.slow) for case in ENVIRONMENTS],
)
def test_a_flow_ends_whatever_its_streams_and_its_environment_are(case: str, tmp_path: Path) -> None:
    sizes = "--class-counts 2,2 --feature-dim 2 --log-time 1 --records 3 --no-figures --out run"
    before, after = (ENVIRONMENTS[case], "") if "=" in ENVIRONMENTS[case] else ("", ENVIRONMENTS[case])
    command = f"{before} {sys.executable} -m ulpm flow {sizes} {after}"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "trajectory.safetensors").exists()
    assert "was reached" in done.stdout or case == "a reader that goes away"
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_full_standard_output_is_said_and_costs_no_result(tmp_path: Path) -> None:
    sizes = "--class-counts 2,2 --feature-dim 2 --log-time 1 --records 3 --no-figures --no-progress --out run"
    command = f"{sys.executable} -m ulpm flow {sizes} > /dev/full"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "ulpm: standard output could not be written (No space left on device).\n"
    assert (tmp_path / "run" / "trajectory.safetensors").exists()
