"""Summaries and tables repeat a trajectory's numbers and set them beside the limits of theory."""

import json
import math

import pytest
import torch

import ulpm
from ulpm.summary import markdown_table, summarise

PROBLEM = ulpm.Problem([5] * 4, 20)


@pytest.fixture(scope="module")
def path() -> ulpm.Trajectory:
    return ulpm.gradient_flow(PROBLEM, PROBLEM.random_state(seed=0), log10_time=100, records=9)


def test_the_summary_sets_late_time_beside_the_limits_of_theory(path: ulpm.Trajectory) -> None:
    summary = summarise(path)
    log_t, v = 100 * math.log(10), 3 * math.sqrt(5)
    assert summary["log10_time"] == pytest.approx(100, abs=1e-9)
    assert summary["squared_norm_over_limit"] == pytest.approx(float(path.squared_norm[-1]) / (2 * v * log_t), rel=1e-9)
    t_times_loss = math.exp(float(path.log_loss[-1]) + log_t)
    assert summary["loss_time_over_limit"] == pytest.approx(t_times_loss * log_t / (v / 2), rel=1e-9)
    assert summary["margin_over_optimum"] == pytest.approx(float(path.margin_ratio[-1]), rel=1e-12)
    # The constants are approached like 1/log t: at log t = 230 they are right to a few per cent.
    for name in ("squared_norm_over_limit", "loss_time_over_limit", "margin_over_optimum"):
        assert summary[name] == pytest.approx(1, abs=0.05)
    assert summary["metrics"]["nc1_pinv"] == float(path.metrics["nc1_pinv"][-1])
    assert summary["largest_drift"]["balancedness"] == float(path.invariant_drift["balancedness"].max())


def test_a_summary_is_valid_json_even_where_numbers_are_not_finite() -> None:
    narrow = ulpm.Problem([2] * 5, 2)
    stopped = ulpm.gradient_flow(narrow, narrow.random_state(seed=0, replicas=2), log_time=50, max_steps=1, records=5)
    summary = summarise(stopped)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary["margin_over_optimum"] == [None, None]
    assert summary["finished"] is False
    assert summary["status"] == [str(ulpm.Status.STEP_LIMIT)] * 2


def test_each_replica_is_summarised_at_its_own_last_record() -> None:
    start = PROBLEM.random_state(seed=0)
    still = ulpm.State(torch.zeros_like(start.W), torch.zeros_like(start.H))
    both = ulpm.State(torch.stack([start.W, still.W]), torch.stack([start.H, still.H]))
    path = ulpm.gradient_flow(PROBLEM, both, log_time=5, records=4)
    summary = summarise(path)
    assert summary["log10_time"][0] == pytest.approx(5 / math.log(10))
    assert summary["log10_time"][1] is None
    assert summary["status"] == [str(ulpm.Status.LOG_TIME_REACHED), str(ulpm.Status.STATIONARY)]


def test_the_table_has_a_column_a_run_and_every_metric(path: ulpm.Trajectory) -> None:
    lines = markdown_table({"one": path, "two": path}).splitlines()
    assert lines[0] == "| | one | two |"
    assert all(line.count("|") == 4 for line in lines)
    for key in path.metrics:
        assert any(line.startswith(f"| `{key}`") for line in lines)
    row = next(line for line in lines if line.startswith("| log10 t "))
    assert row == "| log10 t | 100 | 100 |"
