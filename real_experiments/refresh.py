"""Compute slopes and intervals again from the tables of the results, without networks or flows."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from real_experiments.comparison.analysis import terminal_slopes
from real_experiments.comparison.page import IN_WORDS, SLOPES, slopes_section
from real_experiments.comparison.words import terminal_words
from real_experiments.pair_result import NUMBERS, PairResult, read_numbers, read_results
from ulpm.support import files

__all__ = ["refresh"]

_PAGE = "comparison.md"


def refresh(out: Path) -> None:
    """Bring comparison.json and comparison.md of all results in ``out`` up to the slopes that this version computes.

    Results in controls/ are of networks that ``out`` has as well. Results in decay/ are of networks with weight decay,
    which are on no other page. Files that would not change are left alone.

    Raises: OSError with one sentence if a result is damaged or cannot be written.
    """
    results = [each for each in read_results(out) if each.why_not_compared is None]
    for result in results:
        _refresh(out / result.name, result)
    for path in sorted((out / "decay").glob(f"*/{NUMBERS}")):
        _refresh(path.parent, PairResult.read(path.parent))
    for path in sorted((out / "controls").glob(f"*/{NUMBERS}")):
        numbers = read_numbers(path)
        same = [each for each in results if numbers["mobility"] == each.numbers["mobility"]]
        for result in same[:1]:
            _refresh(path.parent, dataclasses.replace(result, numbers=numbers))


def _refresh(folder: Path, result: PairResult) -> None:
    """``folder`` holds the numbers of ``result``, and perhaps a page."""
    terminal, names = result.terminal_rows, list(result.numbers["epoch_slopes"])
    slopes, late = terminal_slopes(terminal, names)
    plain: dict[str, Any] = {
        which: {name: None if slope is None else dataclasses.asdict(slope) for name, slope in found.items()}
        for which, found in (("epoch_slopes", slopes), ("late_slopes", late))
    }
    numbers = result.numbers | plain
    if not _agree(numbers, result.numbers):
        files.write_text(folder / NUMBERS, json.dumps(numbers, indent=2, allow_nan=False) + "\n")
    page = folder / _PAGE
    if page.exists():
        before = files.read_text(page)
        text = _with_paragraph(before, IN_WORDS, terminal_words(terminal, slopes, late))
        text = _with_section(text, SLOPES, slopes_section(terminal, slopes, numbers["loss_slopes"]))
        if text != before:
            files.write_text(page, text)


def _agree(some: Any, others: Any) -> bool:
    """Whether both are equal up to the rounding of another machine."""
    if isinstance(some, dict) and isinstance(others, dict):
        return some.keys() == others.keys() and all(_agree(value, others[key]) for key, value in some.items())
    if isinstance(some, float) and isinstance(others, float):
        return math.isclose(some, others, rel_tol=1e-6, abs_tol=1e-12)
    return bool(some == others)


def _with_section(page: str, heading: str, body: str) -> str:
    """The page with another text from this heading to the next."""
    before, found, after = page.partition(f"{heading}\n\n")
    _, following, rest = after.partition("\n\n## ")
    return before + found + body + following + rest if found else page


def _with_paragraph(page: str, heading: str, paragraph: str) -> str:
    """The page with another first paragraph below this heading."""
    before, found, after = page.partition(f"{heading}\n\n")
    _, following, rest = after.partition("\n\n")
    return before + found + paragraph + following + rest if found else page
