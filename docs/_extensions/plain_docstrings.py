"""Docstrings as they are written: prose with ``literals`` and roles, and indented formulas kept line by line."""

import re
from collections.abc import Iterable

from sphinx.application import Sphinx

# What reStructuredText would take for markup, in prose that means it as mathematics.
_MARKUP = re.compile(r"(``[^`]+``|:\w+:`[^`]+`)|([\\*_|`])")
_ITEM = re.compile(r"``\w+``\s\s")  # a name and, at some distance, what it is
_HEADINGS = re.compile(r"^(Errors|Raises|Returns|Shapes?|Source|Arguments|Cost):")


def convert(lines: Iterable[str]) -> list[str]:
    """reStructuredText of a docstring: paragraphs, literal blocks where it is indented, and examples untouched."""
    found: list[str] = []
    inside = "gap"  # or "prose", "item", "formula", "example"
    for line in lines:
        if not line.strip():
            inside = inside if inside == "formula" else "gap"
        elif line.startswith(">>>") or inside == "example":
            found += [""] * (inside != "example")
            inside = "example"
        elif line.startswith("    ") and inside in ("gap", "formula"):
            found += ["", ".. code-block:: text", ""] * (inside == "gap")
            inside = "formula"
        elif line.startswith(" "):
            line = ("  " if inside == "item" else "") + _prose(line.strip())
        else:
            found += [""] * (inside == "formula")
            inside = "item" if _ITEM.match(line) else "prose"
            line = ("* " if inside == "item" else "") + _prose(line)
        found.append(line)
    return [*found, ""]


def _prose(line: str) -> str:
    return _HEADINGS.sub(r"**\1.**", _MARKUP.sub(lambda found: found[1] or f"\\{found[2]}", line))


def process(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    lines[:] = convert(lines)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", process)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
