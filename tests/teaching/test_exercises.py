"""Model answers pass their checks, wrong answers fail with a hint that says why, and notebooks run by themselves."""

import importlib
import importlib.util
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import ulpm

TEACHING = Path(__file__).parents[2] / "docs" / "teaching"
sys.path.insert(0, str(TEACHING))
checks = importlib.import_module("checks")

# Students see the errors of the library, not those of its tests.
pytestmark = pytest.mark.usefixtures("unchecked")

CELL = re.compile(r"```\{code-cell\} python\n((?::tags: [^\n]*\n)?)\n?(.*?)```", re.DOTALL)
PAGES = ("exercises", "see-collapse", "where-margins-go", "a-real-network")
# Characters of a line of code that the site shows without scrolling.
WIDEST = 100


def cells(page: str) -> list[tuple[str, str]]:
    """Tags and code of each cell of a page."""
    return CELL.findall((TEACHING / f"{page}.md").read_text(encoding="utf-8"))


def blocks(classes: int, n: int) -> float:
    return classes * math.sqrt(n)


def wrong_slope(log_time: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    return (values[-1] / values[-2]).log() / (log_time[-1] - log_time[-2])


def early_slope(log_time: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    return (values[-1] / values[20]).log() / (log_time[-1] / log_time[20]).log()


def frobenius(W: torch.Tensor, H: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    R = torch.nn.functional.one_hot(labels, len(W)).T - (W @ H).softmax(0)
    return R.clamp(min=0).sum() / R.norm()


# The mistakes that a student makes, and a word of the hint to each.
WRONG = [
    ("angle", lambda K: math.acos(-1 / (K - 1)), "radians"),
    ("angle", lambda K: -1 / (K - 1), "cosine"),
    ("angle", lambda K: 360 / K, "for K = 4"),
    ("dimension", lambda K: K, "not 2"),
    ("spread", lambda H, labels: 1 / ulpm.neural_collapse(H.T[:3], H, labels)["nc1_ratio"], "inverse"),
    ("spread", lambda H, labels: 6 * ulpm.neural_collapse(H.T[:3], H, labels)["nc1_ratio"], "by N"),
    ("spread", lambda H, labels: H.var(), "class means first"),
    ("value", blocks, "blocks"),
    ("value", lambda K, n: 1 / (2 * (K - 1) * math.sqrt(n)), "normalised margin"),
    ("value", lambda K, n: (K - 1) * n, "K = 4, n = 12"),
    ("unequal", lambda counts: (len(counts) - 1) * math.sqrt(sum(counts) / len(counts)), "mean count"),
    ("unequal", lambda counts: sum(map(math.sqrt, counts)), "singular values"),
    ("mismatch", lambda features, labels, classifier: 0.5, "class means"),
    ("exponent", wrong_slope, "against t"),
    ("exponent", lambda log_time, values: -wrong_slope(log_time.log(), values), "sign"),
    ("exponent", early_slope, "late records"),
    ("certificate", frobenius, "Frobenius"),
    ("certificate", lambda W, H, labels: 1.0, "R = Y − P"),
    ("decay", lambda K, n: 1 / K, "zero already just below"),
    ("decay", lambda K, n: 0.5 / (K * math.sqrt(n)), "still not zero"),
    ("minority", lambda counts: 1 / len(counts), "equal already"),
    ("minority", lambda counts: 0.5 * math.sqrt(counts[-1]) / sum(counts), "still differ"),
    ("value", 3.0, "must be a function"),
    ("value", lambda K: K, "TypeError"),
]


def test_model_answers_pass_and_questions_wait_for_an_answer(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    for tags, code in cells("exercises"):
        exec(code, names)
        said = capsys.readouterr().out
        if tags.startswith(":tags: [hide-cell]"):
            assert said == "Right.\n", code
        elif "check(" in code:
            assert said.startswith(("No answer yet.", "Not yet: ")), code
    solved = [code for tags, code in cells("exercises") if tags.startswith(":tags: [hide-cell]")]
    assert [name for code in solved for name in re.findall(r'check\("(\w+)"', code)] == list(checks.EXERCISES)


@pytest.mark.parametrize(("exercise", "answer", "hint"), WRONG)
def test_wrong_answers_fail_with_a_hint(
    exercise: str, answer: Any, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    checks.check(exercise, answer)
    said = capsys.readouterr().out
    assert said.startswith("Not yet: ")
    assert said.count("\n") == 1
    assert hint in said


def test_every_exercise_has_a_wrong_answer_that_fails() -> None:
    assert {exercise for exercise, _, _ in WRONG} == set(checks.EXERCISES)


@pytest.mark.parametrize("page", PAGES)
def test_code_of_a_notebook_fits_into_its_frame(page: str) -> None:
    for line in "\n".join(source for _, source in cells(page)).splitlines():
        assert len(line) <= WIDEST, line


@pytest.mark.parametrize("page", PAGES)
def test_the_first_cell_of_a_notebook_installs_what_it_lacks(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("plotly", reason="plotly, which draws the figures, is not installed")
    first, *rest = (source for _, source in cells(page))
    code = "".join(rest) + (TEACHING / "checks.py").read_text(encoding="utf-8") * (page == "exercises")
    # What a bare kernel lacks: extras of the library, and what shows figures of plotly in Jupyter.
    solves = re.search(r"ulpm\.(minimum_norm_separation|\w*optimum)\(", code) is not None
    extras = ["cvxpy"] * solves + ["plotly", "nbformat"] * (".show(" in code)
    needed = ["ulpm", *extras]
    installed: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: installed.append(command))
    find = importlib.util.find_spec
    for missing in ([], needed[:1], needed):

        def found(name: str, *package: str, missing: list[str] = missing) -> object:
            return (None if name in missing else object()) if name in needed else find(name, *package)

        monkeypatch.setattr(importlib.util, "find_spec", found)
        exec(first, {})
        assert [command[5:] for command in installed] == ([missing] if missing else [])
        installed.clear()


@pytest.mark.parametrize("page", PAGES)
def test_notebooks_that_are_downloaded_stand_alone(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat", reason="the site's tools are not installed: make docs installs them")
    pytest.importorskip("myst_nb", reason="the site's tools are not installed: make docs installs them")
    monkeypatch.syspath_prepend(TEACHING.parent / "_extensions")
    text = importlib.import_module("lesson_kit").notebook(page)
    assert text == importlib.import_module("lesson_kit").notebook(page)
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) == len(cells(page))
    assert "from checks import" not in text
    words = "".join(cell.source for cell in notebook.cells)
    assert ".md)" not in words
    assert "<a href" not in words
    for each in code:
        compile(each, page, "exec")
    folded = [cell for cell in notebook.cells if cell.metadata.get("jupyter", {}).get("source_hidden")]
    assert len(folded) >= (len(checks.EXERCISES) + 1 if page == "exercises" else 1)
