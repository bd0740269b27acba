"""TeX becomes MathML while the site is built, which browsers draw by themselves: no script, no network."""

import re

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

# A name of a function stands apart from its argument.
_FUNCTION = re.compile(r"(<mi>(?:log|cos|logsumexp)</mi>)(?!<mo)")

# Bars of norms have one size, as in TeX: a browser would not stretch the closing one that has an exponent.
_BAR = re.compile("<mo>(&#x02016;|&#x0007C;)</mo>")


def mathml(tex: str, display: str) -> str:
    """The MathML of a formula."""
    spaced = _FUNCTION.sub(r'\1<mspace width="0.17em"/>', convert(tex.strip(), display=display))
    return _BAR.sub(r'<mo stretchy="false">\1</mo>', spaced)


def inline(self: HTML5Translator, node: nodes.math) -> None:
    self.body.append(mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def displayed(self: HTML5Translator, node: nodes.math_block) -> None:
    self.body.append(f'<div class="math">{mathml(node.astext(), "block")}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (inline, None), (displayed, None))
    app.config.html_math_renderer = "mathml"
    return {"parallel_read_safe": True, "parallel_write_safe": True}
