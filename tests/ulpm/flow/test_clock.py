import math

import mpmath
import numpy as np
import pytest
import torch
from mpmath import mp

from ulpm.flow.clock import LossInside, clock_inside_step, clock_through_step, elapsed, log_time, log_time_at

LOG_TIMES = [-300.0, -36.0, -5.0, -1e-3, 0.0, 1.0, 17.0, 37.0, 700.0, 1e4, 1e8, 1e300]


def test_elapsed_is_log_of_one_plus_log_of_one_plus_t():
    with mp.workdps(200):
        for log_t in LOG_TIMES:
            t_plus_1 = 1 + mp.exp(mpmath.mpf(log_t)) if log_t < 1e5 else None
            # Beyond 1e5 log(1 + t) = log t to 200 digits.
            want = float(mp.log1p(mp.log(t_plus_1) if t_plus_1 is not None else mpmath.mpf(log_t)))
            assert float(elapsed(torch.tensor([log_t], dtype=torch.float64))) == pytest.approx(want, rel=1e-15, abs=0)


def test_elapsed_of_the_start_is_zero():
    assert float(elapsed(torch.tensor([-math.inf], dtype=torch.float64))) == 0.0


def test_the_log_time_where_so_much_has_elapsed_is_the_inverse():
    log_t = torch.tensor(LOG_TIMES[:-2], dtype=torch.float64)
    torch.testing.assert_close(log_time_at(elapsed(log_t)), log_t, rtol=1e-12, atol=1e-13)


def test_log_time_is_log_of_clock_over_loss():
    clock, log_loss = (
        torch.tensor([0.0, 1.0, 1e-4], dtype=torch.float64),
        torch.tensor([1.0, 0.5, -1e6], dtype=torch.float64),
    )
    want = [-math.inf, -0.5, math.log(1e-4) + 1e6]
    torch.testing.assert_close(log_time(clock, log_loss), torch.tensor(want, dtype=torch.float64), rtol=1e-15, atol=0)


def test_the_clock_of_a_known_loss():
    """If L = 1/(1 + t) then d log L/dt = −L, so ‖∇ log L‖² = 1 in ds = L dt, s = log(1 + t) and T = t/(1 + t)."""
    h = torch.tensor([1e-9, 0.4, 3.0, 30.0], dtype=torch.float64)
    zero, one = torch.zeros_like(h), torch.ones_like(h)
    clock, error = clock_through_step(zero, LossInside(h, (zero, -h / 2, -h), (one, one)))
    torch.testing.assert_close(clock, -torch.expm1(-h), rtol=1e-13, atol=0)
    assert float(error.max()) < 1e-13


def test_the_quasi_steady_clock_stands_still():
    squared = torch.tensor([0.3, 4.0, 1e8], dtype=torch.float64)
    h = torch.tensor([2.0, 1.0, 1e-3], dtype=torch.float64)
    losses = (-squared, -squared - squared * h / 2, -squared - squared * h)
    clock, _ = clock_through_step(1 / squared, LossInside(h, losses, (squared, squared)))
    torch.testing.assert_close(clock, 1 / squared, rtol=1e-10, atol=0)


def exact_clock(T, h, log_loss, theta):
    """The same integral by mpmath for a given function log L(s) on [0, h]."""
    with mp.workdps(30):
        s = mpmath.mpf(theta) * h
        here = log_loss(s)
        # The integrand lives in a layer before s: the points tell the quadrature where.
        points = [0, *(s * (1 - mpmath.mpf(10) ** -k) for k in range(1, 7)), s]
        integral = mp.quad(lambda r: mp.exp(here - log_loss(r)), points)
        return float(T * mp.exp(here - log_loss(mpmath.mpf(0))) + integral)


def clock_after(T, h, log_loss, theta=1.0):
    """(T, estimate of its error) after a step of a known log L(s)."""

    def t(x):
        return torch.tensor([float(x)], dtype=torch.float64)

    values = tuple(t(log_loss(mpmath.mpf(x))) for x in (0, h / 2, h))
    slopes = tuple(t(-mp.diff(log_loss, x)) for x in (0, h))
    loss = LossInside(t(h), values, slopes)
    value, error = clock_through_step(t(T), loss)
    if theta < 1:
        return float(clock_inside_step(t(T), loss, t(theta))), None
    torch.testing.assert_close(clock_inside_step(t(T), loss, t(1.0)), value, rtol=1e-15, atol=0)
    return float(value), float(error)


@pytest.mark.parametrize("theta", [0.01, 0.37, 1.0])
@pytest.mark.parametrize("steep", [0.1, 10.0, 1e4, 1e7])
def test_the_clock_is_exact_where_log_loss_is_a_quartic(steep, theta):
    def log_loss(s):
        return -steep * (1 + s + s**2 / 3 + s**3 / 20 + s**4 / 50)

    got, _ = clock_after(0.4 / steep, 1.5, log_loss, theta)
    # The values of log L of size ``steep`` are rounded to 1e-16 of it, and so is the exponent.
    assert got == pytest.approx(exact_clock(0.4 / steep, 1.5, log_loss, theta), rel=1e-12 + 4e-16 * steep)


@pytest.mark.parametrize(("h", "turn"), [(0.1, 0.3), (1.0, 0.3), (3.0, 1.0), (0.5, 4.0)])
def test_the_error_estimate_is_no_less_than_half_the_error_of_early_steps(h, turn):
    """On log L = 2 − s − tanh(turn·s): a fall that slows down, as it does before the margins are positive."""

    def log_loss(s):
        return 2 - s - mp.tanh(turn * s)

    got, estimate = clock_after(0.2, h, log_loss)
    error = abs(got - exact_clock(0.2, h, log_loss, 1.0))
    assert error <= 2 * estimate + 1e-14
    assert estimate < 0.1 * got


def test_the_error_and_its_estimate_fall_with_the_sixth_power_of_the_step():
    """log L is right to O(h⁵) inside the step, and T integrates it over h."""

    def log_loss(s):
        return -2 * s - mp.sin(2 * s + 0.5)

    hs = [0.4, 0.3, 0.2, 0.15]
    clocks, estimates = zip(*(clock_after(0.2, h, log_loss) for h in hs), strict=True)
    errors = [abs(got - exact_clock(0.2, h, log_loss, 1.0)) for got, h in zip(clocks, hs, strict=True)]
    assert np.polyfit(np.log(hs), np.log(errors), 1)[0] == pytest.approx(6, abs=0.5)
    assert np.polyfit(np.log(hs), np.log(estimates), 1)[0] == pytest.approx(6, abs=0.7)


@pytest.mark.parametrize("log_time", [1e2, 1e4, 1e6])
@pytest.mark.parametrize("h", [0.5, 2.0, 6.0])
def test_the_error_estimate_bounds_the_error_of_late_steps(h, log_time):
    """On log L = −u e^{cs}, the shape that log L has at late time, with c = 2/v*."""
    c = 0.0314

    def log_loss(s):
        return -log_time * mp.exp(c * s)

    T = 1 / (c * log_time)
    got, estimate = clock_after(T, h, log_loss)
    error = abs(got - exact_clock(T, h, log_loss, 1.0))
    assert error <= estimate + 1e-11 * T
    assert estimate < 1e-3 * T


def test_a_quartic_beats_a_straight_line_by_orders_of_magnitude_on_a_long_step():
    def log_loss(s):
        return -3000 * mp.exp(0.3 * s)

    T, h = 1 / 900, 0.8
    exact = exact_clock(T, h, log_loss, 1.0)
    slope = float((log_loss(h) - log_loss(0)) / h)
    line = 1 / -slope  # the layer of a straight line
    got, _ = clock_after(T, h, log_loss)
    assert abs(line / exact - 1) > 0.1
    assert abs(got / exact - 1) < 1e-5
