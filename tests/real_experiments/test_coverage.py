"""The command that measures coverage simulates what it says, at the epochs of the results."""

import json
from pathlib import Path

import numpy as np
import pytest

from real_experiments.__main__ import main
from real_experiments.coverage import MEMORIES, OURS, autoregression, coverage

X = np.log([*range(8, 21), 23, 27, 32, 38, 40])


def test_the_noise_has_the_memory_that_it_is_given() -> None:
    for memory in MEMORIES:
        u = autoregression(np.random.default_rng(0), 20_000, 6, memory)
        correlations = np.corrcoef(u.T)
        assert np.abs(u.var(0) - 1).max() < 0.05
        assert np.abs(correlations[0] - memory ** np.arange(6)).max() < 0.03


def test_intervals_that_trust_few_residuals_cover_too_rarely() -> None:
    """The negative control: what is measured tells a bad interval from a good one."""
    kinds = (OURS, "independent noise", "φ of largest likelihood", "kernel of all lags", "blocks of 4 drawn again")
    found = coverage([(X, -0.3 * X + 0.01 * np.sin(3 * X))], 200, 0, kinds=kinds)
    assert found[OURS, 18, 0.95] > 0.91
    for kind in kinds[1:]:
        assert found[kind, 18, 0.95] < 0.85
    assert 0.9 < found["independent noise", 18, 0.0] < 0.99


def test_the_command_prints_a_table_for_each_number_of_epochs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = Path(__file__).parents[2] / "real_experiments" / "results"
    assert main(["coverage", "--results", str(results), "--repetitions", "2", "--json", str(tmp_path / "c.json")]) == 0
    printed = capsys.readouterr().out
    assert "degree 3" in printed
    assert "degree 5" in printed
    plain = json.loads((tmp_path / "c.json").read_text())
    assert {each["epochs"] for each in plain} >= {12, 29, 42}
    assert main(["coverage", "--results", str(tmp_path)]) == 1
    assert "holds no results" in capsys.readouterr().err
