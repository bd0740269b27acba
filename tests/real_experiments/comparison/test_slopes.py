"""A fitted slope is that of a power law, and its interval covers the truth as often as it says."""

import math

import numpy as np
import pytest
from scipy import stats

from real_experiments.comparison.slopes import FEWEST, SlopeError, fitted_slope
from real_experiments.schedule import measured_epochs

# The epochs after zero training error of networks in real_experiments/results; the first are a later half.
EPOCHS = {
    12: [16, 17, 18, 19, 20, 23, 27, 32, 38, 46, 54, 60],
    18: [*range(8, 21), 23, 27, 32, 38, 40],
    29: [epoch for epoch in measured_epochs(200) if epoch >= 19],
}


def noise(generator: np.random.Generator, repetitions: int, n: int, memory: float) -> np.ndarray:
    """Stationary autoregressions of order one, by the root of their covariance."""
    covariance = memory ** np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    return generator.standard_normal((repetitions, n)) @ np.linalg.cholesky(covariance).T


def coverage(memory: float, epochs: list[int], repetitions: int, bend: float = 0.0) -> float:
    """How often the interval holds the slope of the curve without noise."""
    x = np.log(epochs)
    curve = -0.3 * x + bend * (x - 4) ** 2
    error = SlopeError(x)
    series = curve + 0.05 * noise(np.random.default_rng(0), repetitions, len(x), memory)
    truth = np.polyfit(x, curve, 1)[0]
    return float(np.mean(np.abs(error.slope(series) - truth) <= error.reach(series)))


def test_a_power_law_has_its_exponent_and_an_interval_without_width() -> None:
    x = np.geomspace(3, 200, 25)
    slope = fitted_slope(x, 7 * x**-1.5)
    assert slope is not None
    assert slope.value == pytest.approx(-1.5, abs=1e-12)
    assert slope.high - slope.low < 1e-10
    assert slope.verdict == "falls"


@pytest.mark.parametrize("value", [7e-9, 0.1, math.pi, 1e-200])
def test_a_metric_that_stays_the_same_neither_rises_nor_falls(value: float) -> None:
    slope = fitted_slope(np.arange(1.0, 41.0), np.full(40, value))
    assert slope is not None
    assert (slope.value, slope.low, slope.high, slope.verdict) == (0.0, 0.0, 0.0, "not falling")


def test_the_slope_is_that_of_least_squares() -> None:
    generator = np.random.default_rng(1)
    x = np.geomspace(1, 50, 30)
    y = x**0.2 * np.exp(0.3 * generator.standard_normal(30))
    slope = fitted_slope(x, y)
    assert slope is not None
    assert slope.value == pytest.approx(np.polyfit(np.log(x), np.log(y), 1)[0], rel=1e-10)


@pytest.mark.parametrize("n", EPOCHS)
def test_the_interval_covers_the_truth_at_least_as_often_as_it_says(n: int) -> None:
    # 400 repetitions have a standard error of 1.1% at 95%.
    for memory in (0.0, 0.5, 0.8, 0.95):
        assert coverage(memory, EPOCHS[n], 400) >= 0.93, memory


@pytest.mark.slow
@pytest.mark.parametrize("n", EPOCHS)
def test_the_coverage_is_what_the_pages_say(n: int) -> None:
    found = {memory: coverage(memory, EPOCHS[n], 4000) for memory in (0.0, 0.5, 0.8, 0.95)}
    assert min(found.values()) >= 0.94
    assert 0.94 <= found[0.95] <= 0.97
    assert max(found.values()) <= 1.0


def test_a_curve_that_bends_takes_nothing_from_the_coverage() -> None:
    x, bent = np.log(EPOCHS[18]), 0.3 * np.log(EPOCHS[18]) ** 3
    series = noise(np.random.default_rng(0), 20, 18, 0.8)
    error = SlopeError(x)
    assert error.reach(series + bent) == pytest.approx(error.reach(series), rel=1e-9)


def test_the_reach_is_that_of_the_density_summed_by_hand() -> None:
    """The share of |wᵀu| ≤ h, given the residuals, by the joint covariance of slope error and residuals."""
    x = np.log(EPOCHS[12])
    y = noise(np.random.default_rng(3), 1, 12, 0.6)[0]
    error = SlopeError(x)
    reach = float(error.reach(y))
    memories = np.linspace(0, 0.98, 25)
    prior = np.array([0.3 / 25] * 24 + [0.3 / 25 + 0.7])
    total = inside = 0.0
    for memory, share in zip(memories, prior, strict=True):
        covariance = memory ** np.abs(np.subtract.outer(np.arange(12), np.arange(12)))
        joint = np.vstack([error.weights, error.rest.T])
        both = joint @ covariance @ joint.T
        z = error.rest.T @ y
        solved = np.linalg.solve(both[1:, 1:], np.column_stack([z, both[1:, 0]]))
        power = float(z @ solved[:, 0])
        density = share * np.linalg.det(both[1:, 1:]) ** -0.5 * power ** (-len(z) / 2)
        scale = np.sqrt(power / len(z) * (both[0, 0] - both[0, 1:] @ solved[:, 1]))
        law = stats.t(len(z), float(both[0, 1:] @ solved[:, 0]), scale)
        total += density
        inside += density * (law.cdf(reach) - law.cdf(-reach))
    assert inside / total == pytest.approx(0.95, abs=1e-8)


def test_an_interval_for_independent_errors_would_not_cover_it() -> None:
    """What the memory of the noise is for: without it the interval is too narrow by a third."""
    generator = np.random.default_rng(0)
    x = np.geomspace(20, 400, 32)
    widths = {}
    for memory in (0.0, 0.5):
        series = -0.3 * np.log(x) + 0.05 * noise(generator, 200, 32, memory) / np.sqrt(1 - memory**2)
        widths[memory] = 2 * np.mean(SlopeError(np.log(x)).reach(series))
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
