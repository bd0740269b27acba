"""Slopes on the pages are those of the tables beside them, whatever an earlier version had computed."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from real_experiments.comparison.page import SLOPES
from real_experiments.comparison.slopes import fitted_slope
from real_experiments.pair_result import PairResult, read_results
from real_experiments.refresh import refresh
from real_experiments.table import checksum

RESULTS = Path(__file__).parents[2] / "real_experiments" / "results"
NAME = "resnet18-mnist-w64-seed0"


def test_the_committed_results_with_weight_decay_say_what_this_version_computes(tmp_path: Path) -> None:
    shutil.copytree(RESULTS / "decay", tmp_path / "decay")
    before = contents(tmp_path)
    page = tmp_path / "decay" / "cross-entropy" / "comparison.md"
    page.write_text(page.read_text().replace("metrics fall", "metrics rise"))
    refresh(tmp_path)
    assert contents(tmp_path) == before


@pytest.fixture
def out(tmp_path: Path) -> Path:
    shutil.copytree(RESULTS / NAME, tmp_path / NAME)
    return tmp_path


def contents(out: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}


def test_the_committed_results_say_what_this_version_computes(out: Path) -> None:
    before = contents(out)
    refresh(out)
    assert contents(out) == before


def flat(entry: Any, name: str = "") -> dict[str, Any]:
    """Every number and word of nested JSON by the path to it."""
    if not isinstance(entry, dict | list):
        return {name: entry}
    inside = entry.items() if isinstance(entry, dict) else enumerate(entry)
    return {key: value for part, below in inside for key, value in flat(below, f"{name}/{part}").items()}


def test_slopes_of_an_earlier_version_are_replaced_on_the_page_and_in_the_numbers(out: Path) -> None:
    before = contents(out)
    numbers = json.loads((out / NAME / "comparison.json").read_text())
    numbers["epoch_slopes"]["nc0"] |= {"low": 0.25, "high": 0.5}
    (out / NAME / "comparison.json").write_text(json.dumps(numbers, indent=2))
    page = out / NAME / "comparison.md"
    before_it, heading, section = page.read_text().partition(SLOPES)
    section = section.replace("| `nc0` |", "| `nc0` | 7", 1)
    page.write_text(before_it.replace("metrics fall", "metrics rise") + heading + section)
    refresh(out)
    after, path = contents(out), out / NAME / "comparison.json"
    # Another processor rounds slopes otherwise, in digits that the page does not show.
    found, expected = flat(json.loads(after.pop(path))), flat(json.loads(before.pop(path)))
    numbers = [key for key, value in expected.items() if isinstance(value, float)]
    assert [found.pop(key) for key in numbers] == pytest.approx([expected.pop(key) for key in numbers], rel=1e-9)
    assert found == expected
    assert after == before
    (result,) = read_results(out)
    rows = result.terminal_rows
    slope = fitted_slope(np.array([row["epoch"] for row in rows], float), np.array([row["nc0"] for row in rows]))
    assert slope is not None
    assert result.slope("nc0") == pytest.approx(
        {"value": slope.value, "low": slope.low, "high": slope.high, "points": 18}
    )


@pytest.mark.parametrize("kind", ["a lost line", "a cut", "no file", "a flipped digit"])
def test_a_damaged_table_of_results_is_named(out: Path, kind: str) -> None:
    path, metrics = out / NAME / "comparison.json", out / NAME / "metrics.csv"
    lines = metrics.read_text().splitlines(keepends=True)
    if kind == "a flipped digit":  # results of an earlier version have no checksum that would show it
        rows = PairResult.read(out / NAME).rows
        path.write_text(json.dumps(json.loads(path.read_text()) | {"metrics_checksum": checksum(rows)}))
        assert PairResult.read(out / NAME).rows == rows
        lines[3] = lines[3].replace("7", "8", 1)
    damaged = {"a lost line": [*lines[:5], *lines[6:]], "a cut": lines[:-1]}.get(kind, lines)
    metrics.write_text("".join(damaged))
    if kind == "no file":
        metrics.unlink()
    with pytest.raises(OSError, match=r"metrics\.csv"):
        PairResult.read(out / NAME)
