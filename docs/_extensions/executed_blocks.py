"""Every block of code on a page is executed while the site is built; one that is not is a warning, hence an error.

Python runs in MyST-NB cells, shell commands in cells that start with %%bash, which fail when a command does. Readers
see the commands without that line. Outputs and declarations (text, toml, …) are no code, and the reports of the
experiments are output themselves.
"""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

_CODE = {"python", "python3", "py", "ipython", "ipython3", "bash", "sh", "shell", "console", "default", "none", ""}
_SHELL = "%%bash\n"

logger = logging.getLogger(__name__)


def check(app: Sphinx, doctree: nodes.document) -> None:
    """Warn of literal blocks of code outside executed cells, and show shell cells as what they are."""
    if "/results/" in app.env.docname:
        return
    for block in doctree.findall(nodes.literal_block):
        cell = _cell_of(block)
        if cell is None:
            if block.get("language", "") in _CODE and not _is_docstring(block):
                logger.warning("this block of code is not executed: make it a {code-cell}", location=block)
        elif block.astext().startswith(_SHELL):
            text = block.astext().removeprefix(_SHELL)
            block.children = [nodes.Text(text)]
            block.rawsource = text
            block["language"] = "bash"


def _cell_of(block: nodes.Node) -> nodes.Node | None:
    """The executed cell that a block belongs to."""
    parent = block.parent
    while parent is not None:
        if isinstance(parent, nodes.container) and parent.get("nb_element") == "cell_code":
            return parent
        parent = parent.parent
    return None


def _is_docstring(block: nodes.Node) -> bool:
    """Whether the block is in the documentation of an object: formulas, and examples that `make test` runs."""
    parent = block.parent
    while parent is not None:
        if parent.tagname == "desc_content":
            return True
        parent = parent.parent
    return False


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-read", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
