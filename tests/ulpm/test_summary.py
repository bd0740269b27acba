"""Summaries and tables repeat a trajectory's numbers and set them beside the limits of theory."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch

import ulpm
from ulpm import summary
from ulpm.summary import certificate_summary, certificate_table, markdown_table, summarise

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


def test_a_run_that_stayed_at_its_start_has_no_late_time_to_compare_with() -> None:
    start = PROBLEM.random_state(seed=0)
    path = ulpm.gradient_flow(PROBLEM, ulpm.State(0 * start.W, 0 * start.H), log_time=5, records=4)
    assert path.log_time.tolist() == [-math.inf]
    assert summarise(path)["squared_norm_over_limit"] is None
    assert "| (ρ²/log t) / 2v*  (→ 1) | – |" in markdown_table({"run": path}).splitlines()


def test_the_table_has_a_column_a_run_and_every_metric(path: ulpm.Trajectory) -> None:
    lines = markdown_table({"one": path, "two": path}).splitlines()
    assert lines[0] == "| | one | two |"
    assert all(line.count("|") == 4 for line in lines)
    for key in path.metrics:
        assert any(line.startswith(f"| `{key}`") for line in lines)
    row = next(line for line in lines if line.startswith("| log10 t "))
    assert row == "| log10 t | 100 | 100 |"


def test_the_certificate_table_says_what_the_run_proves(path: ulpm.Trajectory) -> None:
    assert path.certificate is not None
    *rows, proven, _, closed_form = certificate_table(path).splitlines()
    assert len([row for row in rows if row.startswith("|")]) == 2 + 9
    assert len({row.count("|") for row in rows if row}) == 1
    assert rows[2].startswith("| t = 0 | ")
    assert "| – |" in rows[2]
    assert f"{float(path.certificate.gap[-1]):.3g}" in rows[10]
    lower, upper = (float(number) for number in proven.split("[")[1].rstrip("].").split(", "))
    assert lower <= float(path.certificate.lower_bound.max()) < 3 * math.sqrt(5)
    assert 3 * math.sqrt(5) < float(path.certificate.nuclear_upper_bound.min()) <= upper
    assert closed_form.endswith("v* = 6.70820393.")


def test_the_certificate_summary_is_valid_json_of_every_record(path: ulpm.Trajectory) -> None:
    assert path.certificate is not None
    summary = certificate_summary(path)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary["records"]["nuclear_upper_bound"][0] is None
    assert summary["records"]["gap"][-1] == float(path.certificate.gap[-1])
    assert {len(column) for column in summary["records"].values()} == {9}
    assert summary["lower_bound"] <= summary["optimum"] <= summary["upper_bound"]
    assert summary["gap"] == summary["upper_bound"] / summary["lower_bound"] - 1


@pytest.mark.parametrize(
    "values", [[0.02834, 0.02382], [1.0, 2.0, 7.0, 4.0], [3.0, 1.0, math.inf, 2.0, math.inf], [1e-30, 3e-30]]
)
def test_a_number_of_several_replicas_is_the_median_of_statistics(values: list[float]) -> None:
    """Half of the two middle ones if their number is even; infinite ones are large."""
    assert float(summary._number(values, 12)) == pytest.approx(float(np.median(values)), rel=1e-11)


@pytest.mark.parametrize(("infinite", "shown"), [(1, "3"), (2, "3"), (3, "–"), (5, "–")])
def test_infinite_replicas_count_in_the_medians_of_tables(infinite: int, shown: str) -> None:
    replicated = ulpm.gradient_flow(PROBLEM, PROBLEM.random_state(seed=0, replicas=5), log_time=1, records=3)
    values = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]).double().repeat(3, 1)
    values[:, 5 - infinite :] = torch.inf
    lines = markdown_table({"run": dataclasses.replace(replicated, metrics={"nc1_cdnv": values})}).splitlines()
    assert f"| `nc1_cdnv`, start → end | {shown} → {shown} |" in lines


def test_tables_say_how_many_replicas_are_defined_where_some_are_not() -> None:
    replicated = ulpm.gradient_flow(PROBLEM, PROBLEM.random_state(seed=0, replicas=3), log_time=1, records=3)
    values = torch.tensor([[1.0, 2.0, 4.0], [1.0, 1.0, 1.0], [1.0, torch.nan, torch.inf]]).double()
    lines = markdown_table({"run": dataclasses.replace(replicated, metrics={"nc1_cdnv": values})}).splitlines()
    assert "| `nc1_cdnv`, start → end | 2 → – |" in lines
    values[2, 2], values[0, 1] = 5.0, torch.nan
    lines = markdown_table({"run": dataclasses.replace(replicated, metrics={"nc1_cdnv": values})}).splitlines()
    assert "| `nc1_cdnv`, start → end | 2.5 (2 of 3) → 3 (2 of 3) |" in lines


def test_certificates_of_replicas_that_separate_nothing_prove_a_lower_bound_only() -> None:
    narrow = ulpm.Problem([2] * 5, 2)
    stopped = ulpm.gradient_flow(narrow, narrow.random_state(seed=0, replicas=2), log_time=-3, records=3)
    table, summary = certificate_table(stopped), certificate_summary(stopped)
    assert "No record separates the classes: the optimum v* is at least" in table
    assert "not tight" in table
    assert summary["upper_bound"] is summary["gap"] is summary["optimum"] is None
    assert summary["records"]["upper_bound"] == [[None, None]] * 3


def test_a_trajectory_without_certificates_is_refused(path: ulpm.Trajectory) -> None:
    with pytest.raises(ValueError, match="has no certificates"):
        certificate_table(dataclasses.replace(path, certificate=None))
