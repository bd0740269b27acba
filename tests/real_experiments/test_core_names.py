"""The experiments see the core through its public names only, and nothing here unpickles."""

from pathlib import Path

import pytest
from core_names import private, unsafe

import real_experiments

PACKAGE = Path(real_experiments.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(PACKAGE)) for path in paths]


@pytest.mark.parametrize("path", FILES, ids=names(FILES))
def test_no_module_unpickles(path: Path) -> None:
    assert unsafe(path.read_text(encoding="utf-8"), "theory_experiments") == []


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
        "import ulpm.objective",
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
