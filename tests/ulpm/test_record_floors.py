"""What the floors of a trajectory say, and where tables, files and replicas show them."""

import dataclasses
import math

import pytest
import torch

import ulpm
from ulpm.metrics import METRICS, precision_floors
from ulpm.plotting import plot_loss
from ulpm.summary import certificate_table, markdown_table, summarise


def flow(counts, dim, rtol=1e-6, log10_time=60.0, replicas=None, dtype=torch.float64):
    problem = ulpm.Problem(counts, dim)
    start = problem.random_state(seed=0, replicas=replicas, dtype=dtype)
    return ulpm.gradient_flow(problem, start, log10_time=log10_time, rtol=rtol, records=12)


@pytest.fixture(scope="module")
def narrow():
    """Fewer dimensions than classes: nothing stays within the classes."""
    return flow([5] * 4, 3)


def test_every_metric_and_residual_has_a_floor_at_each_record(narrow):
    assert set(narrow.floors) == {*METRICS, "gap", "stationarity", "complementarity"}
    assert all(floor.shape == narrow.log_time.shape and bool((floor >= 0).all()) for floor in narrow.floors.values())


def test_within_class_metrics_sink_below_their_floor_where_nothing_is_frozen_and_only_there(narrow):
    wide = flow([5] * 4, 20)
    for key in ("nc1_pinv", "nc1_ratio", "nc1_cdnv", "nc1_distance"):
        assert float(narrow.metrics[key][-1]) < float(narrow.floors[key][-1])
        assert float(wide.metrics[key][-1]) > float(wide.floors[key][-1])


def test_a_tighter_tolerance_lowers_the_floors_in_proportion():
    loose, tight = (flow([5] * 4, 3, rtol, 2.0).floors for rtol in (1e-5, 1e-7))
    for key, power in (("nc1_pinv", 2), ("nc1_distance", 1), ("nc2_norm_means", 1), ("nc3_product", 1)):
        assert float(loose[key][-1] / tight[key][-1]) == pytest.approx(100**power, rel=1e-3)


def test_in_float32_the_floor_is_that_of_its_precision_if_the_tolerance_is_finer():
    path = flow([5] * 4, 20, rtol=1.2e-6, log10_time=1.0, dtype=torch.float32)
    state = path.final_state
    rounding = precision_floors(state.W, state.H, path.problem.labels, torch.float32)
    for key in ("nc1_ratio", "nc1_distance"):
        assert float(path.floors[key][-1]) == pytest.approx(float(rounding[key]), rel=1e-5)


@pytest.mark.parametrize("reduction", ["sum", pytest.param("mean", marks=pytest.mark.slow)])
def test_squared_error_that_falls_to_zero_is_right_above_its_floor_and_marked_below(reduction):
    """At log t = 3 it was e^−38 where a run at rtol 1e-9 has e^−48."""
    problem = ulpm.Problem([5] * 3, 4, loss=ulpm.SquaredError(), reduction=reduction)
    start, end = problem.random_state(seed=0), 3.0 + math.log(15) * (reduction == "mean")
    path, reference = (ulpm.gradient_flow(problem, start, log_time=end, rtol=r, records=60) for r in (1e-6, 1e-9))
    above = path.log_loss >= path.floors["log_loss"]
    error = (path.log_loss - reference.log_loss).abs()
    assert float(error[above].max()) < 0.02
    assert float(error[~above].max()) > 1.0
    shown = [line for line in markdown_table({"run": path}).splitlines() if line.startswith("| log10 L ")]
    assert shown == [f"| log10 L | < {float(path.floors['log_loss'][-1]) / math.log(10):.4g} |"]
    assert any(text.get_text().startswith("below the floor") for text in plot_loss(path).legends[0].get_texts())
    assert "log_loss" not in ulpm.gradient_flow(ulpm.Problem([5] * 3, 4), start, log_time=1.0, records=2).floors


def test_descent_has_the_floors_of_its_number_format_only():
    problem = ulpm.Problem([5] * 4, 20)
    path = ulpm.gradient_descent(problem, problem.random_state(seed=0), steps=50, records=3)
    assert float(path.floors["nc2_norm_means"][-1]) < 1e-13
    assert float(path.floors["gap"][-1]) < 1e-10


def test_tables_show_what_is_below_its_floor_as_less_than_it(narrow):
    rows = {line.split("|")[1].strip(): line for line in markdown_table({"a": narrow}).splitlines()}
    assert rows["`nc1_pinv`, start → end"].endswith("→ < 6e-13 |")
    assert "<" not in rows["`nc2_norm_means`, start → end"]
    assert summarise(narrow)["floors"]["nc1_pinv"] == pytest.approx(6e-13, rel=1e-9, abs=0)
    closed = dataclasses.replace(narrow.certificate, nuclear_upper_bound=narrow.certificate.lower_bound * (1 + 1e-9))
    assert "| < " in certificate_table(dataclasses.replace(narrow, certificate=closed)).splitlines()[-6]


def test_floors_are_kept_with_the_file(narrow, tmp_path):
    narrow.save(tmp_path / "run")
    again = ulpm.Trajectory.load(tmp_path / "run")
    assert all(torch.equal(again.floors[key], floor) for key, floor in narrow.floors.items())


def test_replicas_have_floors_of_their_own_and_reach_no_further_than_their_records():
    paths = flow([5] * 4, 20, log10_time=3.0, replicas=2)
    alone = flow([5] * 4, 20, log10_time=3.0)
    assert paths.floors["gap"].shape == (12, 2)
    torch.testing.assert_close(paths.floors["gap"][:, 0], alone.floors["gap"], rtol=1e-6, atol=0)


def test_the_size_of_features_is_that_of_its_definition(narrow):
    H, N = narrow.final_state.H, narrow.problem.num_samples
    means = torch.stack([H[:, narrow.problem.labels == k].mean(1) for k in range(4)])
    spread = sum(float((m - means.mean(0)) @ (m - means.mean(0))) for m in means) / 4
    size = sum(float(H[:, i] @ H[:, i]) for i in range(N)) / N
    assert float(narrow.feature_size[-1]) == pytest.approx(math.sqrt(size / spread), rel=1e-12)
