"""The pieces of Markdown that the generated pages share."""

import re
from collections.abc import Callable, Iterable, Sequence

__all__ = ["folded", "number", "plain", "sentence", "table", "with_symbols"]


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; vertical bars in cells are escaped."""
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    return "\n".join(lines + ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows])


def folded(summary: str, text: str) -> str:
    """A block that shows ``summary`` and opens to ``text``, Markdown too."""
    return f"<details>\n<summary>{summary}</summary>\n\n{text}\n\n</details>"


def number(value: float) -> str:
    """Four significant digits, with a minus sign at which lines do not break."""
    return f"{value:.4g}".replace("-", "−")


def plain(text: str) -> str:
    """Plain text as Markdown: its stars and underscores are no emphasis. Code between backticks stays as it is."""
    return _outside_code(lambda part: re.sub(r"\*|(?<!\w)_|_(?!\w)", r"\\\g<0>", part), text)


def with_symbols(text: str) -> str:
    """Markdown in which the stars of symbols such as v* and ‖Z‖_* are no emphasis. Indented formulas stay."""

    def escaped(part: str) -> str:
        return re.sub(r"(?<=[vwZλγM])\*(?=[\s_/·²).,;:ᵀq])|(?<=‖_)\*|(?<=‖)_", r"\\\g<0>", part)

    lines = (line if line.startswith("    ") else _outside_code(escaped, line) for line in text.splitlines())
    return "\n".join(lines)


def sentence(text: str) -> str:
    """``text`` with a full stop, and a capital letter unless it begins with a symbol, such as q or log t."""
    first = re.match(r"[a-z]+(?![\w*])", text)
    if first and first[0] != "log" and (len(first[0]) > 1 or first[0] == "a"):
        text = text[:1].upper() + text[1:]
    return text if text[-1:] in ".!?:" else f"{text}."


def _outside_code(change: Callable[[str], str], text: str) -> str:
    return "`".join(part if i % 2 else change(part) for i, part in enumerate(text.split("`")))


def _cell(value: object) -> str:
    return str(value).replace("\n", " ").replace("|", "\\|")
