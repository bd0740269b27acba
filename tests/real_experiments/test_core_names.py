"""The experiments see the core through its public names only, and nothing here unpickles."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import real_experiments
import ulpm
import ulpm.demo
import ulpm.plotting
import ulpm.support

PACKAGE = Path(real_experiments.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
FORBIDDEN = {"pickle", "dill", "joblib", "shelve", "marshal", "torchvision", "theory_experiments"}


PUBLIC_MODULES = {
    "demo": [*ulpm.demo.__all__],
    "plotting": [*ulpm.plotting.__all__],
    "support": [*ulpm.support.__all__],
}


def unsafe(source: str) -> list[str]:
    """Complaints about libraries that are out of bounds, pickle above all."""
    return [
        f"uses {target}"
        for target in used(source)
        if target.split(".")[0] in FORBIDDEN or target in ("torch.load", "torch.save")
    ]


def private(source: str) -> list[str]:
    """Complaints about parts of the core that are no public names."""
    parts = [target.split(".") for target in used(source)]
    return [f"uses {'.'.join(part)}" for part in parts if part[0] == "ulpm" and len(part) > 1 and not public(part[1:])]


def public(inside: list[str]) -> bool:
    """Whether ulpm.<inside> is a public name, or one of a public module."""
    if inside[0] in PUBLIC_MODULES:
        return len(inside) == 1 or (len(inside) == 2 and inside[1] in PUBLIC_MODULES[inside[0]])
    return len(inside) == 1 and inside[0] in ulpm.__all__


def used(source: str) -> Iterator[str]:
    """Dotted names that a module imports, and attributes ``a.b`` of plain names."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}"


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(PACKAGE)) for path in paths]


@pytest.mark.parametrize("path", FILES, ids=names(FILES))
def test_no_module_unpickles(path: Path) -> None:
    assert unsafe(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", FILES, ids=names(FILES))
def test_every_module_uses_public_names_of_the_core_only(path: Path) -> None:
    assert private(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "from ulpm import _checks",
        "from ulpm._files import replace_file",
        "from ulpm.metrics import measure",
        "from ulpm.plotting.files import save_figure",
        "from ulpm.support import _checks",
        "import ulpm.field",
        "import ulpm\nulpm._checks.device('cpu')",
    ],
)
def test_the_reader_complains_about_other_names_of_the_core(source: str) -> None:
    assert private(source) != []


@pytest.mark.parametrize("source", ["import pickle", "from torchvision import models", "import torch\ntorch.load('x')"])
def test_the_reader_complains_about_libraries_that_are_out_of_bounds(source: str) -> None:
    assert unsafe(source) != []


def test_the_reader_does_not_complain_about_public_names() -> None:
    source = "import ulpm\nimport torch\nfrom ulpm import Problem, State\nulpm.measure\ntorch.zeros(1)"
    assert unsafe(source) == private(source) == []
