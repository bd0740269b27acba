"""Set-up of all tests: shapes in signatures are checked at run time, one thread, and how to switch the checks off."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # for `from oracles import ...` whatever the import mode
from runtime_checks import without_checks

# Before anything imports them.
_hook = jaxtyping.install_import_hook(["ulpm", "real_experiments", "theory_experiments"], "runtime_checks.checked")

torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes that tests start


@pytest.fixture
def unchecked() -> Iterator[None]:
    """No run-time checks of the signatures: errors are those that a user of the library sees."""
    with without_checks():
        yield


@pytest.fixture(scope="module")
def unchecked_module() -> Iterator[None]:
    """The same for a module, with what its tests share: checks cost several times what long flows do themselves."""
    with without_checks():
        yield


@pytest.fixture
def unspaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are drawn and written, but room for labels is not made: that takes matplotlib longer than to draw."""
    monkeypatch.setattr("matplotlib.layout_engine.ConstrainedLayoutEngine.execute", lambda engine, figure: None)
