"""The progress bar in terminals of any width."""

import io
import re

import pytest
from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn

from ulpm.flow.progress import fitting_progress


def shown(console: Console) -> str:
    """The line of a bar at 37%, as a terminal has it."""
    name, line, _, number = columns = (
        TextColumn("a long name"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("x = {task.fields[x]}"),
    )
    progress = fitting_progress(columns, (line, name, number), console)
    progress.add_task("", total=100, completed=37, x="1.25e-09")
    console.print(progress)
    assert isinstance(console.file, io.StringIO)
    return re.sub(r"\x1b\[[0-9;]*m", "", console.file.getvalue()).rstrip()


@pytest.mark.parametrize("width", [4, 5, 10, 18, 19, 20, 29, 30, 31, 41, 42, 80, 200])
def test_no_number_is_cut_off_in_a_narrow_terminal(width: int) -> None:
    line = shown(Console(file=io.StringIO(), width=width, force_terminal=True))
    assert "…" not in line
    assert len(line) <= width
    assert " 37%" in line  # first in importance, and there in any terminal
    # Each column with one space after it: 5, 13, 12, and 11 for the shortest bar.
    assert ("x = 1.25e-09" in line) == (width >= 5 + 13)
    assert ("a long name" in line) == (width >= 5 + 13 + 12)
    assert ("━" in line) == (width >= 5 + 13 + 12 + 11)


def test_a_terminal_made_wider_gets_all_columns_back() -> None:
    console = Console(file=io.StringIO(), width=10, force_terminal=True)
    name, percent = TextColumn("a long name"), TaskProgressColumn()
    progress = fitting_progress((name, percent), (name,), console)
    progress.add_task("", total=1)
    for width, number in ((10, 1), (30, 2), (10, 1)):
        console.width = width
        list(progress.get_renderables())
        assert len(progress.columns) == number
