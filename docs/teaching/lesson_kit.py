"""The lesson kit on the site: steps of a plan, slides and notebooks to download, and one copy of plotly for all pages.

    :::{step} 3–8          minutes; options :scenario: or :lab:, :time: and :see: as in plan.py, or :page:

Slides and notebooks are made beside the pages, in the folder ``teaching`` of the site.
"""

import html
import re
from pathlib import Path

import nbformat
import slides
from docutils import nodes
from docutils.parsers.rst import directives
from myst_nb.core.read import read_myst_markdown_notebook
from plan import Claim, claims, link, place
from plotly.offline import get_plotlyjs
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util.docutils import SphinxDirective

from ulpm.demo.network import network_scenario

HERE = Path(__file__).parent
NOTEBOOKS = ("see-collapse", "where-margins-go", "a-real-network", "exercises")
DEMO, PLOTLY = "../../demo.html", "../../teaching/plotly.min.js"
_FAR_SCRIPT, _HOLDS_PLOTLY = re.compile(r'<script src="https:[^>]*></script>'), 1_000_000
IMPORT_CHECKS = "from checks import check\n"


class Step(SphinxDirective):
    required_arguments = 1
    final_argument_whitespace = True
    has_content = True
    option_spec = dict.fromkeys(("scenario", "lab", "time", "see", "page"), directives.unchanged_required)

    def run(self) -> list[nodes.Node]:
        box = nodes.container(classes=["step"])
        where = self.options.get("time", "")
        if "scenario" in self.options or "lab" in self.options:
            words = "laboratory" if "lab" in self.options else "demo"
            where = f'<a href="{DEMO}{html.escape(link(self.options, _place(where)))}">{words}</a>, {where}'
        elif "page" in self.options:
            where = f"[{self.options['page']}]({self.options['page']}.md)"
        words = [f"**Minutes {self.arguments[0]}**" + (f" ({where})" if where else ""), "", *self.content]
        found = claims(self.options.get("see", ""))
        if found:
            words += ["", "Numbers", ": " + "; ".join(f"{each.name} {_plain(each)}" for each in found)]
        box += self.parse_text_to_nodes("\n".join(words))
        return [box]


def _place(time: str) -> float:
    """Where the slider is at a time."""
    if time.startswith("t = "):
        return place(time)
    clock = network_scenario().clock
    return clock.positions[clock.words.index(time)]


def _plain(claim: Claim) -> str:
    """``is none yet`` or ``< 10⁻³``, with no break within."""
    return f"is {claim.words}" if claim.relation == "=" else f"{claim.relation}\N{NO-BREAK SPACE}{claim.words}"


def notebook(page: str) -> str:
    """A page of the kit as a Jupyter notebook that stands alone, without outputs."""
    text = (HERE / f"{page}.md").read_text(encoding="utf-8")
    found = read_myst_markdown_notebook(text)
    for i, cell in enumerate(found.cells):
        # Cells get names by their place, so that a page gives the same notebook each time.
        cell["id"] = f"{page}-{i}"
        tags = cell.metadata.get("tags", [])
        cell.metadata = {}
        if cell.cell_type == "code":
            whole = (cell.source + "\n").replace(IMPORT_CHECKS, _checks()).rstrip()
            if tags or whole != cell.source:
                # Solutions and checks are folded, in Jupyter and in Colab.
                cell.metadata = {"tags": tags, "jupyter": {"source_hidden": True}, "cellView": "form"}
            cell.source = whole
        else:
            cell.source = _plain_links(cell.source)
    found.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return str(nbformat.writes(found, version=4))


def _checks() -> str:
    return (HERE / "checks.py").read_text(encoding="utf-8")


def _plain_links(text: str) -> str:
    """A notebook alone has no pages beside it: links to them become their words, and what says how to get it goes."""
    text = "\n\n".join(paragraph for paragraph in text.split("\n\n") if " download>" not in paragraph)
    return re.sub(r"\[([^\]]+)\]\((?!https?:)[^)]*\)", r"\1", text)


def make(app: Sphinx) -> None:
    """Slides, notebooks and plotly's script, beside the pages."""
    beside = Path(app.confdir) / "_build" / "beside" / "teaching"
    beside.mkdir(parents=True, exist_ok=True)
    (beside / "slides.html").write_text(slides.page(HERE / "slides.md"), encoding="utf-8")
    (beside / "plotly.min.js").write_text(get_plotlyjs(), encoding="utf-8")
    for page in NOTEBOOKS:
        (beside / f"{page}.ipynb").write_text(notebook(page), encoding="utf-8")


def share_plotly(app: Sphinx, doctree: nodes.document) -> None:
    """The first figure of a notebook carries all of plotly: pages refer to one copy instead, and to no other site."""
    for raw in doctree.findall(nodes.raw):
        text = _FAR_SCRIPT.sub("", raw.astext())
        if len(text) > _HOLDS_PLOTLY:
            start, end = text.index("<script"), text.rindex("</script>") + len("</script>")
            text = f'{text[:start]}<script src="{PLOTLY}"></script>{text[end:]}'
        if text != raw.astext():
            raw.children = [nodes.Text(text)]
            raw.rawsource = text


def add_style(app: Sphinx, config: Config) -> None:
    config.html_static_path.append(str(HERE / "_static"))
    app.add_css_file("teaching.css")


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("step", Step)
    app.connect("config-inited", add_style)
    app.connect("builder-inited", make)
    app.connect("doctree-read", share_plotly)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
