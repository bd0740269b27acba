"""Slides out of Markdown: one HTML file that works offline, with MathML and with figures that its own code draws.

A rule (---) begins a slide. A block ```{figure} What it shows``` is Python that sets ``figure``, of matplotlib; all
blocks of a file share their names. Other blocks of code are shown.
"""

import base64
import html
import io
from pathlib import Path
from typing import Any

import matplotlib
from markdown_it import MarkdownIt
from mathml import mathml
from matplotlib.figure import Figure
from mdit_py_plugins.deflist import deflist_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin

__all__ = ["page"]

HERE = Path(__file__).parent


def page(source: Path) -> str:
    """The page of a file of slides."""
    parser = MarkdownIt("commonmark").enable("table").use(deflist_plugin)
    parser.use(dollarmath_plugin, renderer=lambda tex, mode: mathml(tex, "block" if mode["display_mode"] else "inline"))
    names: dict[str, Any] = {}
    shown = [_slide(parser, part, names) for part in source.read_text(encoding="utf-8").split("\n---\n")]
    frame = (HERE / "slides.html").read_text(encoding="utf-8")
    return frame.replace("{{SLIDES}}", "\n".join(f"<section>{slide}</section>" for slide in shown))


def _slide(parser: MarkdownIt, text: str, names: dict[str, Any]) -> str:
    tokens = parser.parse(text)
    for token in tokens:
        if token.type == "fence" and token.info.startswith("{figure}"):
            exec(compile(token.content, "slides.md", "exec"), names)  # the repository's own code
            token.type, token.content = "html_block", _image(names["figure"], token.info.removeprefix("{figure}"))
    return str(parser.renderer.render(tokens, parser.options, {}))


def _image(figure: Figure, alt: str) -> str:
    """The figure as SVG, which repeats bit for bit."""
    file = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "slides"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="{html.escape(alt.strip())}" src="data:image/svg+xml;base64,{data}">\n'
