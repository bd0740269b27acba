"""The experiments import only public names of the core, and nothing here unpickles."""

from pathlib import Path

import pytest
from core_names import private, unsafe

import theory_experiments

PACKAGE = Path(theory_experiments.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))


def complaints(source: str) -> list[str]:
    return [*unsafe(source, "real_experiments", "cvxpy"), *private(source)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_public_names_of_the_core_only(path: Path) -> None:
    assert complaints(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "from ulpm import _files",
        "from ulpm._checks import integer",
        "import ulpm.objective",
        "import ulpm\nulpm.flow.FlowRun",
        "from ulpm.plotting.files import save_figure",
        "import pickle",
        "from real_experiments import train",
        "import torch\ntorch.load('x')",
    ],
)
def test_the_reader_complains_about_other_names(source: str) -> None:
    assert complaints(source) != []


def test_the_reader_does_not_complain_about_public_names() -> None:
    source = "import ulpm\nfrom ulpm import Problem\nfrom ulpm.plotting import style, plot_loss\nulpm.certify"
    assert complaints(source) == []
