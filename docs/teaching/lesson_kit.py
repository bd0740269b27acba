"""The lesson kit on the site: steps of a plan, slides and notebooks to download, and one copy of plotly for all pages.

    :::{step} 3–8          minutes; options :scenario:, :time: and :see: as in plan.py, or :page: for a notebook

Slides and notebooks are made beside the pages, in the folder ``teaching`` of the site.
"""

import re
from pathlib import Path

import nbformat
import slides
from docutils import nodes
from docutils.parsers.rst import directives
from myst_nb.core.config import NbParserConfig
from myst_nb.core.read import read_myst_markdown_notebook
from myst_parser.config.main import MdParserConfig
from plan import claims
from plotly.offline import get_plotlyjs
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

HERE = Path(__file__).parent
NOTEBOOKS = ("see-collapse", "where-margins-go", "a-real-network", "exercises")
DEMO, PLOTLY = "../../demo.html", "../../teaching/plotly.min.js"
IMPORT_CHECKS = "from checks import check\n"


class Step(SphinxDirective):
    required_arguments = 1
    final_argument_whitespace = True
    has_content = True
    option_spec = dict.fromkeys(("scenario", "time", "see", "page"), directives.unchanged_required)

    def run(self) -> list[nodes.Node]:
        box = nodes.container(classes=["step"])
        where = self.options.get("time", "")
        if "scenario" in self.options:
            where = f'<a href="{DEMO}#{self.options["scenario"]}">demo</a>, {where}'
        elif "page" in self.options:
            where = f"[{self.options['page']}]({self.options['page']}.md)"
        words = [f"**Minutes {self.arguments[0]}**" + (f" ({where})" if where else ""), "", *self.content]
        seen = "; ".join(f"{each.name} {each.relation} {each.words}" for each in claims(self.options.get("see", "")))
        if seen:
            words += ["", "Numbers", f": {seen}"]
        box += self.parse_text_to_nodes("\n".join(words))
        return [box]


def notebook(page: str) -> str:
    """A page of the kit as a Jupyter notebook that stands alone, without outputs."""
    text = (HERE / f"{page}.md").read_text(encoding="utf-8")
    found = read_myst_markdown_notebook(text, MdParserConfig(), NbParserConfig())
    for i, cell in enumerate(found.cells):
        # Cells get names by their place, so that a page gives the same notebook each time.
        cell["id"] = f"{page}-{i}"
        tags = cell.metadata.get("tags", [])
        cell.metadata = {"tags": tags} if tags else {}
        if cell.cell_type == "code":
            cell.source = (cell.source + "\n").replace(IMPORT_CHECKS, _checks()).rstrip()
        else:
            cell.source = _plain_links(cell.source)
    found.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return str(nbformat.writes(found, version=4))


def _checks() -> str:
    return (HERE / "checks.py").read_text(encoding="utf-8")


def _plain_links(text: str) -> str:
    """A notebook alone has no pages beside it: links to them become their words."""
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
    """Notebooks carry the whole of plotly in their first figure; pages refer to the one copy instead."""
    for raw in doctree.findall(nodes.raw):
        if len(raw.astext()) > 1_000_000:
            head, script, rest = raw.astext().partition("<script")
            tail = script + rest
            text = head + f'<script src="{PLOTLY}"></script>' + tail[tail.rindex("</script>") + len("</script>") :]
            raw.children = [nodes.Text(text)]
            raw.rawsource = text


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("step", Step)
    app.connect("builder-inited", make)
    app.connect("doctree-read", share_plotly)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
