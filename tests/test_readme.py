"""The README shows what its example prints."""

import contextlib
import io
import re
from pathlib import Path

import numpy
import pytest
import torch

import ulpm

README = (Path(__file__).parent.parent / "README.md").read_text()


@pytest.mark.usefixtures("unchecked")
def test_the_example_prints_what_the_readme_shows() -> None:
    code, output = re.search(r"```python\n(import ulpm.*?)```\n\n```\n(.*?)```", README, re.DOTALL).groups()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, {})
    assert printed.getvalue() == output


def test_the_readme_has_exactly_the_two_set_up_commands() -> None:
    block = re.search(r"## Set up a checkout\n.*?```\n(.*?)```", README, re.DOTALL).group(1)
    assert block.split("\n") == ["make demo", "make test", ""]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("bias", [True, False])
def test_the_lines_for_an_own_network_measure_monitor_and_save_it(
    bias: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = re.search(r"## Measure your own network\n.*?```python\n(.*?)```", README, re.DOTALL).group(1)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    inputs, labels = torch.randn(24, 1, 6, 6), torch.arange(24) % 3
    layers = [torch.nn.Conv2d(1, 4, 3), torch.nn.Flatten(), torch.nn.Linear(64, 3, bias=bias)]
    own = {"model": torch.nn.Sequential(*layers), "loader": [(inputs, labels)], "inputs": inputs, "labels": labels}
    own |= {"train": lambda: None, "epochs": 12, "ulpm": ulpm, "torch": torch, "numpy": numpy}
    exec(code, own)
    assert {row["epoch"] for row in own["monitor"].table} == {*range(1, 13)}
    saved = ulpm.load_features("features.npz").measure().metrics
    for key, value in own["metrics"].items():
        assert saved[key] == pytest.approx(float(value), rel=1e-5, abs=1e-7), key
