"""The experiments see the core through its public names only, and nothing here unpickles."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import theory_experiments
import ulpm
import ulpm.plotting
import ulpm.support

FILES = sorted(Path(theory_experiments.__file__).parent.rglob("*.py"))
FORBIDDEN = {"pickle", "dill", "joblib", "shelve", "marshal", "torchvision", "real_experiments", "cvxpy"}

PUBLIC_MODULES = {"plotting": [*ulpm.plotting.__all__], "support": [*ulpm.support.__all__]}


def complaints(source: str) -> Iterator[str]:
    for target in used(source):
        root, *inside = target.split(".")
        if root in FORBIDDEN or target in ("torch.load", "torch.save"):
            yield f"uses {target}"
        if root == "ulpm" and inside and not public(inside):
            yield f"uses {target}, which is no public name"


def public(inside: list[str]) -> bool:
    """Whether ulpm.<inside> is a public name, or one of a public module, or an attribute of one."""
    if inside[0] in PUBLIC_MODULES:
        return len(inside) == 1 or inside[1] in PUBLIC_MODULES[inside[0]]
    return inside[0] in ulpm.__all__


def used(source: str) -> Iterator[str]:
    """Dotted names that a module imports, and attributes of plain names."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_public_names_of_the_core_only(path: Path) -> None:
    assert list(complaints(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    [
        "from ulpm import _files",
        "from ulpm._checks import integer",
        "import ulpm.field",
        "import ulpm\nulpm.flow.FlowRun",
        "from ulpm.plotting.files import save_figure",
        "import pickle",
        "from real_experiments import train",
        "import torch\ntorch.load('x')",
    ],
)
def test_the_reader_complains_about_other_names(source: str) -> None:
    assert list(complaints(source)) != []


def test_the_reader_does_not_complain_about_public_names() -> None:
    source = "import ulpm\nfrom ulpm import Problem\nfrom ulpm.plotting import style, plot_loss\nulpm.certify"
    assert list(complaints(source)) == []
