"""What a benchmark hands to the page: a section of Markdown, the goals it looked at, and its figures."""

import dataclasses
from collections.abc import Callable, Sequence

from matplotlib.figure import Figure

Tell = Callable[[str], None]
"""Says on the progress line what is being measured."""


@dataclasses.dataclass(frozen=True)
class Goal:
    """A promise of the project beside what was measured, in words, and whether it is kept."""

    claim: str
    wanted: str
    measured: str
    met: bool

    @classmethod
    def at_most(cls, claim: str, limit: float, value: float, text: Callable[[float], str] = "{:.2g}".format) -> "Goal":
        """A goal that is an upper bound; a value that is not a number misses it."""
        return cls(claim, f"≤ {text(limit)}", text(value), value <= limit)

    @classmethod
    def at_least(cls, claim: str, limit: float, value: float, text: Callable[[float], str] = "{:.3g}".format) -> "Goal":
        """A goal that is a lower bound; a value that is not a number misses it."""
        return cls(claim, f"≥ {text(limit)}", text(value), value >= limit)


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of a page, which ``page`` names. ``figures`` maps file names to what is drawn there."""

    title: str
    text: str
    goals: Sequence[Goal] = ()
    figures: dict[str, Figure] = dataclasses.field(default_factory=dict)
    page: str = "benchmarks.md"


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])


def goals_table(goals: Sequence[Goal]) -> str:
    """Goals beside measurements."""
    return table(
        ("goal", "wanted", "measured", "met"),
        [(goal.claim, goal.wanted, goal.measured, "yes" if goal.met else "**no**") for goal in goals],
    )


def count(value: float) -> str:
    """A count with thousands separators."""
    return f"{value:,.0f}"
