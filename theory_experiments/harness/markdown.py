"""The pieces of Markdown that the generated pages share."""

from collections.abc import Iterable, Sequence

__all__ = ["folded", "number", "sentence", "table"]


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; vertical bars in cells are escaped."""
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    return "\n".join(lines + ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows])


def folded(summary: str, text: str) -> str:
    """A block that shows ``summary`` and opens to ``text``, Markdown too."""
    return f"<details>\n<summary>{summary}</summary>\n\n{text}\n\n</details>"


def number(value: float) -> str:
    """Four significant digits."""
    return f"{value:.4g}"


def sentence(text: str) -> str:
    """``text`` with a capital letter and a full stop."""
    stop = "" if text[-1:] in ".!?:" else "."
    return f"{text[:1].upper()}{text[1:]}{stop}"


def _cell(value: object) -> str:
    return str(value).replace("\n", " ").replace("|", "\\|")
