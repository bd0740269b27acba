"""A fitted slope is that of a power law, and its interval covers the truth as often as it says."""

import numpy as np
import pytest

from real_experiments.comparison.slopes import FEWEST, fitted_slope


def noise(generator: np.random.Generator, n: int, memory: float) -> np.ndarray:
    """A stationary autoregression of order one."""
    shocks = generator.standard_normal(n + 200)
    values = np.zeros(n + 200)
    for i in range(1, n + 200):
        values[i] = memory * values[i - 1] + shocks[i]
    return values[200:]


def coverage(memory: float, bend: float = 0.0, repetitions: int = 500, n: int = 32) -> float:
    """How often the interval holds the slope of the curve without noise."""
    generator = np.random.default_rng(0)
    x = np.geomspace(20, 400, n)
    curve = -0.3 * np.log(x) + bend * np.log(x / 90) ** 2
    truth = np.polyfit(np.log(x), curve, 1)[0]
    hits = 0
    for _ in range(repetitions):
        slope = fitted_slope(x, np.exp(curve + 0.05 * noise(generator, n, memory)))
        assert slope is not None
        hits += slope.low <= truth <= slope.high
    return hits / repetitions


def test_a_power_law_has_its_exponent_and_an_interval_without_width() -> None:
    x = np.geomspace(3, 200, 25)
    slope = fitted_slope(x, 7 * x**-1.5)
    assert slope is not None
    assert slope.value == pytest.approx(-1.5, abs=1e-12)
    assert slope.high - slope.low < 1e-10
    assert slope.verdict == "falls"


def test_the_slope_is_that_of_least_squares() -> None:
    generator = np.random.default_rng(1)
    x = np.geomspace(1, 50, 30)
    y = x**0.2 * np.exp(0.3 * generator.standard_normal(30))
    slope = fitted_slope(x, y)
    assert slope is not None
    assert slope.value == pytest.approx(np.polyfit(np.log(x), np.log(y), 1)[0], rel=1e-10)


@pytest.mark.parametrize("memory", [0.0, 0.3, 0.5])
@pytest.mark.parametrize("bend", [0.0, 0.1])
def test_the_interval_covers_the_truth_as_often_as_it_says(memory: float, bend: float) -> None:
    # 500 repetitions have a standard error of 1%.
    assert 0.93 <= coverage(memory, bend) <= 0.99


def test_an_interval_for_independent_errors_would_not_cover_it() -> None:
    """What the memory of the noise is for: without it the interval is too narrow by a third."""
    generator = np.random.default_rng(0)
    x = np.geomspace(20, 400, 32)
    widths = {}
    for memory in (0.0, 0.5):
        found = [fitted_slope(x, x**-0.3 * np.exp(0.05 * noise(generator, 32, memory))) for _ in range(200)]
        widths[memory] = np.mean([slope.high - slope.low for slope in found if slope is not None])
    spread = 1 / np.sqrt(1 - 0.5**2)  # of the noise with memory, beside that without
    assert widths[0.5] / widths[0.0] > 1.2 * spread


def test_an_exponent_that_changes_sign_on_the_way_is_no_fall() -> None:
    x = np.geomspace(1, 100, 40)
    slope = fitted_slope(x, np.cosh(np.log(x) - np.log(10)))
    assert slope is not None
    assert slope.verdict == "not falling"


def test_the_verdict_follows_the_interval() -> None:
    generator = np.random.default_rng(2)
    x = np.geomspace(1, 100, 40)
    flat = fitted_slope(x, np.exp(0.2 * generator.standard_normal(40)))
    rising = fitted_slope(x, x**0.5 * np.exp(0.01 * generator.standard_normal(40)))
    assert flat is not None
    assert rising is not None
    assert (flat.verdict, rising.verdict) == ("not falling", "rises")


def test_what_has_no_slope_gets_none() -> None:
    x = np.geomspace(1, 10, 20)
    assert fitted_slope(x[: FEWEST - 1], x[: FEWEST - 1]) is None
    assert fitted_slope(x, np.append(np.zeros(1), x[1:])) is None
    assert fitted_slope(np.ones(20), x) is None
    assert fitted_slope(x, np.full(20, np.nan)) is None
