"""Mathematics in docstrings, before napoleon reads their sections: v* and |x| in prose are no markup, and an indented
formula is kept line by line.
"""

import re
from collections.abc import Iterable

from sphinx.application import Sphinx

# What reStructuredText would take for markup, in prose that means it as mathematics.
_MARKUP = re.compile(r"(``[^`]+``|:\w+:`[^`]+`)|([\\*_|`])")
_SECTION = re.compile(r"(Args|Returns|Raises|Attributes):$")
_ITEM = re.compile(r"``\w+``\s\s")  # a name and, at some distance, what it is
_LEAD = re.compile(r"^(Errors|Raises|Returns|Shapes?|Source|Arguments|Cost|Units):")


def convert(lines: Iterable[str]) -> list[str]:
    """reStructuredText of a docstring whose sections napoleon reads: prose escaped, formulas as literal blocks."""
    found: list[str] = []
    inside = "gap"  # or "prose", "item", "formula", "example", "section"
    for line in lines:
        if not line.strip():
            inside = inside if inside in ("formula", "section") else "gap"
        elif _SECTION.match(line):
            inside = "section"
        elif line.startswith(" ") and inside == "section":
            line = _escaped(line)
        elif line.startswith(">>>") or inside == "example":
            found += [""] * (inside != "example")
            inside = "example"
        elif line.startswith("    ") and inside in ("gap", "formula"):
            found += ["", ".. code-block:: text", ""] * (inside == "gap")
            inside = "formula"
        elif line.startswith(" "):
            line = ("  " if inside == "item" else "") + _escaped(line.strip())
        else:
            found += [""] * (inside == "formula")
            inside = "item" if _ITEM.match(line) else "prose"
            line = ("* " if inside == "item" else "") + _LEAD.sub(r"**\1.**", _escaped(line))
        found.append(line)
    return [*found, ""]


def _escaped(line: str) -> str:
    """The name of a parameter before a colon stays as it is, for napoleon."""
    name = re.match(r"    \w+(?=: )", line)
    kept = name[0] if name else ""
    return kept + _MARKUP.sub(lambda found: found[1] or f"\\{found[2]}", line[len(kept) :])


def process(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    # napoleon takes what stands before a colon in the first line of a property for its type: a comment comes first.
    lines[:] = ["..", ""] * (what in ("property", "attribute", "data")) + convert(lines)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", process, priority=100)  # napoleon's is 500
    return {"parallel_read_safe": True, "parallel_write_safe": True}
