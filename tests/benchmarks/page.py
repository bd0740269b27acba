"""The page: the machine, the goals, a section for each benchmark, and the figures."""

import os
import platform
import textwrap
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from report import Goal, Section, goals_table

TITLES = {"benchmarks.md": "Benchmarks", "scaling.md": "Scaling"}
PACKAGES = ("ulpm", "torch", "numpy", "scipy", "torchdiffeq")
# A machine this idle does not slow a single thread down.
IDLE = 0.5


def cpu_name() -> str:
    """The model of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def load() -> float:
    """Programs that ran on average over the last minute."""
    return os.getloadavg()[0]


def compose(sections: Sequence[Section], command: str, load_before: float, quick: bool) -> str:
    """The page of these sections as Markdown."""
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    busy = BUSY.format(load=load_before) if load_before > IDLE else ""
    title = TITLES[sections[0].page]
    parts = [
        HEAD.format(title=title, command=command, cpu=cpu_name(), cores=os.cpu_count(), packages=packages, busy=busy)
    ]
    if quick:
        parts.append("This was a quick run: its sizes only show that the program works, and no number means anything.")
    goals = [goal for section in sections for goal in section.goals]
    if goals:
        parts.append(f"## Goals\n\n{verdict(goals)}\n\n{goals_table(goals)}")
    parts += [f"## {section.title}\n\n{section.text.strip()}" for section in sections]
    return wrapped("\n\n".join(parts)) + "\n"


def wrapped(text: str) -> str:
    """Markdown with its paragraphs in lines of at most 120 characters, whatever numbers were put into them."""
    blocks = text.split("\n\n")
    return "\n\n".join(block if block.startswith(("#", "|", "- ", "!")) else _filled(block) for block in blocks)


def _filled(paragraph: str) -> str:
    return textwrap.fill(" ".join(paragraph.split()), 120, break_long_words=False, break_on_hyphens=False)


def verdict(goals: Sequence[Goal]) -> str:
    """What is missed, in plain words."""
    missed = [f"- {goal.claim} is {goal.measured}, wanted {goal.wanted}" for goal in goals if not goal.met]
    if not missed:
        return f"All {len(goals)} goals and aims are met."
    return f"{len(goals) - len(missed)} of {len(goals)} goals and aims are met. Missed:\n\n" + "\n".join(missed)


def write(sections: Sequence[Section], text: str, folder: Path) -> Path:
    """Write the page and its figures into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for section in sections:
        for name, figure in section.figures.items():
            figure.savefig(folder / name, dpi=130)
    page = folder / sections[0].page
    page.write_text(text, encoding="utf-8")
    return page


HEAD = """# {title}

`{command}` wrote this page.

The processor is {cpu} with {cores} cores. The versions are {packages}. Arithmetic is float64,
on one thread unless a section says otherwise.{busy}"""

BUSY = """

**The machine was not idle.** Its load was {load:.1f} in the minute before the start. Times are too long by an unknown
factor. Ratios of times are less affected. Counts and errors are not affected."""
