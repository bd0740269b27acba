"""Exponents of exact power laws are found, and intervals are those of scipy's Student distribution."""

import math

import pytest
import torch
from scipy.stats import t as student

from theory_experiments.numerics.exponents import Interval, confidence, fitted_exponents


def test_the_exponent_of_a_power_law_is_found_and_other_records_are_left_out() -> None:
    log_time = torch.logspace(0, 5, 40, dtype=torch.float64)[:, None].expand(-1, 3)
    exponents = torch.tensor([-3.0, -0.5, 1.0], dtype=torch.float64)
    values = 7 * log_time**exponents
    values[log_time[:, 0] < 100] = 1.0
    torch.testing.assert_close(fitted_exponents(log_time, values, since=100.0), exponents)


def test_a_value_that_is_zero_has_no_exponent() -> None:
    log_time = torch.logspace(2, 5, 10, dtype=torch.float64)[:, None]
    values = 1 / log_time
    values[-1] = 0.0
    assert not torch.isfinite(fitted_exponents(log_time, values, since=1.0)).any()


def test_too_few_records_are_refused() -> None:
    log_time = torch.logspace(0, 3, 10, dtype=torch.float64)[:, None]
    with pytest.raises(ValueError, match="at least 5 records"):
        fitted_exponents(log_time, log_time, since=500.0)


@pytest.mark.parametrize("count", [4, 8, 32])
def test_the_confidence_interval_is_students(count: int) -> None:
    samples = torch.randn(count, generator=torch.Generator().manual_seed(count), dtype=torch.float64)
    expected = student.ppf(0.975, count - 1) * float(samples.std()) / math.sqrt(count)
    interval = confidence(samples)
    assert interval.half_width == pytest.approx(expected, rel=1e-12)
    assert interval.mean == pytest.approx(float(samples.mean()))


def test_fewer_than_four_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 4 starts"):
        confidence(torch.zeros(3, dtype=torch.float64))


def test_the_distance_reaches_the_far_end() -> None:
    assert Interval(-0.9, 0.02).distance(-1.0) == pytest.approx(0.12)
