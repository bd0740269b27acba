"""The tests that need a CUDA device."""

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from gpu_part import Part, Row
from report import Goal, Tell, count

TESTS = Path(__file__).parents[1]
_MARK = re.compile(r"\bmark\.cuda\b")
_OUTCOME = re.compile(r"^(\S+::.*?) (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b")
# What pytest ends with if no test was selected.
_NO_TESTS = 5


def marked_files(folder: Path = TESTS) -> list[Path]:
    """Test files that speak of the mark. Only these are collected, since others may need packages that are not here."""
    return [file for file in sorted(folder.rglob("test_*.py")) if _MARK.search(file.read_text(encoding="utf-8"))]


def run_tests(files: Sequence[Path], tell: Tell) -> Iterator[Row | Goal]:
    """A row for each test that does not pass, as it ends, and one for all; and the goal that none fails."""
    tally, last = dict.fromkeys(("PASSED", "FAILED", "ERROR"), 0), ""
    # -vv, since the project's own -q takes one back.
    command = [sys.executable, "-m", "pytest", "-vv", "-m", "cuda", "-p", "no:cacheprovider", *map(str, files)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, **pipes, text=True, cwd=TESTS.parent) as run:
        for line in run.stdout or ():
            last = line.strip() or last
            found = _OUTCOME.match(line)
            if found is None:
                continue
            name, outcome = found[1], found[2]
            tell(f"{name} {outcome.lower()}")
            tally[outcome] = tally.get(outcome, 0) + 1
            if outcome != "PASSED":
                yield f"`{name}`", outcome.lower()
    if run.returncode == _NO_TESTS:
        yield "`pytest -m cuda`", "no test is marked so"
        return
    words = ", ".join(f"{number} {outcome.lower()}" for outcome, number in tally.items() if number)
    yield "`pytest -m cuda`", words or f"nothing ran: {last}"
    broken = tally["FAILED"] + tally["ERROR"]
    # It may also end badly without a word about a test, where a file cannot be imported.
    yield Goal.at_most("tests marked cuda that fail", 0, broken or int(run.returncode != 0), count)


def measure(device: torch.device, tell: Tell) -> Iterator[Row | Goal]:
    """Run them on a GPU; on the CPU say that they are skipped."""
    files = marked_files()
    if device.type == "cpu":
        yield "`pytest -m cuda`", f"skipped on the CPU ({len(files)} test files have such tests)"
    elif not files:
        yield "`pytest -m cuda`", "no test is marked so"
    else:
        yield from run_tests(files, tell)


PART = Part(
    "Tests on the device",
    "The tests marked `cuda`. A test that does not pass has a row of its own.",
    ("tests", "outcome"),
    60,
    measure,
)
