"""Curves run where their numbers are, and say in words what these are."""

import math

import pytest
import torch

from ulpm.demo.curves import bounds_panel, distance_panel, loss_panel, metrics_panel, plain

KEYS = ("nc1_pinv", "nc2_angle_means", "nc3_duality")


def test_metrics_are_drawn_by_their_logarithm_down_to_the_edge() -> None:
    values = torch.tensor([1.0, 1e-3, 1e-30, 0.0], dtype=torch.float64)
    panel = metrics_panel(dict.fromkeys(KEYS, values))
    for curve in panel.curves:
        assert curve.heights == pytest.approx([0, -3, -14, -14])
        assert curve.words == ["1", "10⁻³", "10⁻³⁰", "0"]
    assert panel.range[0] < -14


def test_a_metric_that_starts_large_stays_within_its_panel() -> None:
    values = torch.tensor([71.0, 1.0], dtype=torch.float64)
    small = torch.tensor([1.0, 0.1], dtype=torch.float64)
    panel = metrics_panel({"nc1_pinv": values, "nc2_angle_means": small, "nc3_duality": small})
    assert max(panel.curves[0].heights) < panel.range[1] < math.log10(71) + 0.5
    assert metrics_panel(dict.fromkeys(KEYS, small)).range[1] == 1.0


def test_nc3_is_the_self_duality_where_it_was_measured_else_the_difference_under_its_own_name() -> None:
    one, other = torch.tensor([1.0, 0.1], dtype=torch.float64), torch.tensor([1.0, 1e-5], dtype=torch.float64)
    common = {"nc1_pinv": one, "nc2_angle_means": one}
    both = metrics_panel({**common, "nc3_difference": other, "nc3_duality": one}).curves[-1]
    assert (both.name, both.heights) == ("NC3 self-duality", [0.0, -1.0])
    network = metrics_panel({**common, "nc3_difference": other}).curves[-1]
    assert (network.name, network.heights) == ("NC3 difference", [0.0, -5.0])


def test_a_metric_that_does_not_exist_is_not_drawn() -> None:
    values = torch.tensor([math.nan, 0.1], dtype=torch.float64)
    panel = metrics_panel(dict.fromkeys(KEYS, values))
    assert plain(panel)["curves"][0]["heights"] == [None, -1.0]


def test_the_loss_falls_evenly_on_both_sides_of_one() -> None:
    log10_loss = torch.tensor([2.0, 0.0, -1.0, -100.0, -1000.0], dtype=torch.float64)
    panel = loss_panel(log10_loss, "loss")
    (curve,) = panel.curves
    assert curve.heights == pytest.approx([math.log10(3), 0, -math.log10(2), -math.log10(101), -math.log10(1001)])
    ticks = {label: at for at, label in panel.ticks}
    assert ticks["10⁻¹⁰⁰⁰"] == pytest.approx(curve.heights[-1])
    assert curve.words[-1] == "10⁻¹⁰⁰⁰"


def test_a_bound_that_does_not_exist_has_a_gap_and_says_so() -> None:
    lower = torch.tensor([3.0, 4.0], dtype=torch.float64)
    upper = torch.tensor([math.inf, 6.0], dtype=torch.float64)
    above, below = bounds_panel(lower, upper, (5.0, "v*")).curves
    assert above.heights == [None, 6.0]
    assert above.words == ["none yet", "6"]
    assert below.heights == [3.0, 4.0]


@pytest.mark.parametrize("upper", [1.2, 5.0, 9.6, 10.0, 14.3, 64.0, 999.0])
def test_bounds_have_some_round_marks_within_their_range(upper: float) -> None:
    lower = torch.tensor([0.6 * upper, 0.9 * upper], dtype=torch.float64)
    panel = bounds_panel(lower, torch.tensor([math.inf, upper], dtype=torch.float64), None)
    assert 2 <= len(panel.ticks) <= 4
    assert all(panel.range[0] <= at <= panel.range[1] for at, _ in panel.ticks)


def test_bounds_of_a_network_are_logarithmic() -> None:
    lower = torch.tensor([20.0, 50.0], dtype=torch.float64)
    upper = torch.tensor([math.inf, 2000.0], dtype=torch.float64)
    panel = bounds_panel(lower, upper, (math.log10(100), "v*"), logarithmic=True)
    assert panel.range == pytest.approx((1, 4))
    assert [label for _, label in panel.ticks] == ["10", "100", "1000", "10000"]


def test_the_name_of_the_optimum_is_where_no_bound_runs_through_it() -> None:
    lower = torch.tensor([120.0, 71.0], dtype=torch.float64)
    upper = torch.tensor([math.inf, 226.0], dtype=torch.float64)
    assert bounds_panel(lower, upper, (127.0, "v*"), logarithmic=True).level_end == "left"
    assert bounds_panel(lower, upper, (127.0, "v*")).level_end == "right"


def test_without_any_upper_bound_the_lower_one_is_drawn() -> None:
    lower = torch.tensor([3.0, 4.0], dtype=torch.float64)
    never = torch.full((2,), math.inf, dtype=torch.float64)
    for logarithmic in (False, True):
        panel = bounds_panel(lower, never, None, logarithmic)
        assert all(math.isfinite(edge) for edge in panel.range)
        assert panel.curves[0].heights == [None, None]


def test_an_error_that_has_reached_zero_ends_its_curve() -> None:
    loss = torch.tensor([0.0, -1.0, -2.0], dtype=torch.float64)
    panel = loss_panel(loss, "loss", name="mean loss", error=torch.tensor([0.5, 0.01, 0.0], dtype=torch.float64))
    curve = panel.curves[1]
    assert curve.words == ["50%", "1%", "0%"]
    assert curve.heights[2] is None
    assert panel.curves[0].heights[0] > (curve.heights[0] or 0) > (curve.heights[1] or 0) >= panel.range[0]


def test_a_distance_is_drawn_by_its_logarithm() -> None:
    panel = distance_panel(torch.tensor([0.05, 0.5, 1.0], dtype=torch.float64), "distance", "distance")
    assert panel.curves[0].heights == pytest.approx([-1.30103, -0.30103, 0.0])
    assert panel.range[0] < -1.30103
    assert panel.range[1] > 0
    assert [label for _, label in panel.ticks] == ["1", "10⁻¹", "10⁻²"]
