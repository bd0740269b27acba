"""Reading a curve off a clock."""

import numpy as np
import pytest

from ulpm.forecasting import CLOCKS, COMPARED, Curve

LOSS = np.array([1.0, 0.1, 0.01])
CURVE = Curve(LOSS, np.array([0.0, 1.0, 3.0]), {"nc0": LOSS**0.5, "nc1_pinv": np.array([4.0, 2.0, 0.0])})


def test_between_records_a_power_of_the_loss_is_exact() -> None:
    assert CURVE.at("train_loss", 0.03)["nc0"] == pytest.approx(0.03**0.5, rel=1e-12)


def test_in_time_the_logarithm_is_linear() -> None:
    assert CURVE.at("flow_time", 2.0)["nc0"] == pytest.approx((0.1 * 0.01) ** 0.25, rel=1e-12)


@pytest.mark.parametrize("unit", [1e-12, 1e6])
def test_the_unit_of_time_is_not_seen(unit: float) -> None:
    curve = Curve(LOSS, unit * CURVE.flow_time, CURVE.metrics)
    assert curve.at("flow_time", unit * 2.0)["nc0"] == pytest.approx((0.1 * 0.01) ** 0.25, rel=1e-9)
    assert np.isnan(curve.at("flow_time", unit * 3.1)["nc0"])


@pytest.mark.parametrize(("clock", "reading"), [("train_loss", 2.0), ("train_loss", 0.001), ("flow_time", 3.1)])
def test_outside_its_records_a_curve_says_nothing(clock: str, reading: float) -> None:
    assert np.isnan(CURVE.at(clock, reading)["nc0"])  # type: ignore[arg-type]


def test_the_ends_belong_to_the_curve_up_to_rounding() -> None:
    assert CURVE.at("train_loss", 1.0 + 1e-12)["nc0"] == 1.0
    assert CURVE.at("train_loss", 0.01 + 1e-14)["nc0"] == pytest.approx(0.1)
    assert CURVE.at("flow_time", 0.0)["nc0"] == 1.0


def test_a_metric_that_becomes_zero_stays_a_number() -> None:
    assert CURVE.at("train_loss", 0.05)["nc1_pinv"] == 0.0


JUMPING = {"nc0": np.array([0.0, 2.0, np.inf, 3.0, np.nan, 5.0])}


@pytest.mark.parametrize("record", range(6))
@pytest.mark.parametrize("off", [0.0, 1e-15, -1e-15])
def test_at_a_record_a_curve_has_its_value_whatever_the_records_beside_it(record: int, off: float) -> None:
    jumping = Curve(0.1 ** np.arange(6.0), np.arange(1.0, 7.0), JUMPING)
    expected = JUMPING["nc0"][record]
    for clock in CLOCKS:
        found = jumping.at(clock, float(jumping.clock(clock)[record]) * (1 + off))["nc0"]
        assert found == expected or (np.isnan(found) and np.isnan(expected))


def test_between_records_a_metric_is_zero_beside_zero_and_infinite_beside_infinity() -> None:
    jumping = Curve(0.1 ** np.arange(6.0), np.arange(1.0, 7.0), JUMPING)
    found = [jumping.at("flow_time", time)["nc0"] for time in (1.5, 2.5, 3.5, 4.5, 5.5)]
    np.testing.assert_array_equal(found, [0.0, np.inf, np.inf, np.nan, np.nan])


def test_a_reading_that_is_undefined_infinite_or_negative_has_no_metrics() -> None:
    for clock in CLOCKS:
        assert np.isnan(CURVE.at(clock, np.nan)["nc0"])
        assert np.isnan(CURVE.at(clock, np.inf)["nc0"])
        assert np.isnan(CURVE.at(clock, -1.0)["nc0"])


def test_a_loss_of_zero_is_read_where_it_is_reached_and_nothing_just_before() -> None:
    assert np.isnan(CURVE.at("train_loss", 0.0)["nc0"])
    curve = Curve(np.array([1.0, 0.1, 0.0]), np.arange(3.0), {"nc0": np.array([1.0, 2.0, 3.0])})
    assert curve.at("train_loss", 0.0)["nc0"] == 3.0
    assert np.isnan(curve.at("train_loss", 0.05)["nc0"])


def test_a_loss_met_twice_counts_where_it_is_met_last() -> None:
    curve = Curve(np.array([1.0, 0.1, 0.5, 0.05]), np.arange(4.0), {"nc0": np.array([1.0, 2.0, 3.0, 4.0])})
    assert 3.0 < curve.at("train_loss", 0.1)["nc0"] < 4.0


def test_all_metrics_but_a_share_of_samples_are_compared() -> None:
    import ulpm

    problem = ulpm.Problem([2, 2], 3)
    state = problem.random_state()
    found = ulpm.neural_collapse(state.W, state.H, problem.labels)
    assert set(found) - set(COMPARED) == {"nc4_mismatch"}
    assert set(COMPARED) < set(found)
