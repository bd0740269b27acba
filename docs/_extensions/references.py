"""Names of the core that docstrings refer to by their modules lead to their public names in the API."""

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

import ulpm


def resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Node) -> nodes.Node | None:
    """``Certificate``, ``ulpm.neural_collapse`` or ``ulpm.metrics.probe.probe``: the last word is the public name."""
    name = node["reftarget"].rpartition(".")[2]
    if node["refdomain"] != "py" or name not in ulpm.__all__ or "refdoc" not in node:
        return None
    domain = env.domains.python_domain
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", f"ulpm.{name}", node, content)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
