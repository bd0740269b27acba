import math

import mpmath
import pytest
import torch
from mpmath import mp

from ulpm.flow.clock import clock_rate, clock_through_stiff_step, elapsed, log_time

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


def test_log_time_is_log_of_clock_over_loss():
    clock, log_loss = (
        torch.tensor([0.0, 1.0, 1e-4], dtype=torch.float64),
        torch.tensor([1.0, 0.5, -1e6], dtype=torch.float64),
    )
    want = [-math.inf, -0.5, math.log(1e-4) + 1e6]
    torch.testing.assert_close(log_time(clock, log_loss), torch.tensor(want, dtype=torch.float64), rtol=1e-15, atol=0)


def test_the_clock_of_a_known_loss():
    """If L = 1/(1 + t) then d log L/dt = −L, so ‖∇ log L‖² = 1 in ds = L dt, s = log(1 + t) and T = t/(1 + t).

    dT/ds = 1 − T then says e^{-s}, which is 1/(1 + t) = 1 − T.
    """
    t = torch.tensor([0.0, 0.5, 3.0, 1e6], dtype=torch.float64)
    clock = t / (1 + t)
    torch.testing.assert_close(clock_rate(clock, torch.ones(4).double()), 1 / (1 + t), rtol=1e-9, atol=0)


def test_the_quasi_steady_clock_stands_still():
    squared = torch.tensor([0.3, 4.0, 1e8], dtype=torch.float64)
    torch.testing.assert_close(clock_rate(1 / squared, squared), torch.zeros(3).double(), rtol=0, atol=1e-15)


def exact_clock(T, h, log_loss, theta):
    """The same integral by mpmath for a given function log L(s) on [0, h]."""
    with mp.workdps(30):
        s = mpmath.mpf(theta) * h
        here = log_loss(s)
        # The integrand lives in a layer before s: the points tell the quadrature where.
        points = [0, *(s * (1 - mpmath.mpf(10) ** -k) for k in range(1, 7)), s]
        integral = mp.quad(lambda r: mp.exp(here - log_loss(r)), points)
        return float(T * mp.exp(here - log_loss(mpmath.mpf(0))) + integral)


def stiff_clock(T, h, log_loss, theta=1.0):
    def t(x):
        return torch.tensor([float(x)], dtype=torch.float64)

    ends = [log_loss(mpmath.mpf(0)), log_loss(mpmath.mpf(h))]
    slopes = [-mp.diff(log_loss, x) for x in (0, h)]
    value, error = clock_through_stiff_step(
        t(T), t(h), (t(ends[0]), t(ends[1])), (t(slopes[0]), t(slopes[1])), t(theta)
    )
    return float(value), float(error)


@pytest.mark.parametrize("theta", [0.01, 0.37, 1.0])
@pytest.mark.parametrize("steep", [0.1, 10.0, 1e4, 1e7])
def test_the_clock_of_a_stiff_step_is_exact_where_log_loss_is_a_cubic(steep, theta):
    def log_loss(s):
        return -steep * (1 + s + s**2 / 3 + s**3 / 20)

    got, _ = stiff_clock(0.4 / steep, 1.5, log_loss, theta)
    # The values of log L of size ``steep`` are rounded to 1e-16 of it, and so is the exponent.
    assert got == pytest.approx(exact_clock(0.4 / steep, 1.5, log_loss, theta), rel=1e-12 + 4e-16 * steep)


@pytest.mark.parametrize("log_time", [1e2, 1e4, 1e6])
@pytest.mark.parametrize("h", [0.5, 2.0, 6.0])
def test_the_error_estimate_of_the_clock_of_a_stiff_step_bounds_its_error(h, log_time):
    """On log L = −u e^{cs}, the shape that log L has at late time, with c = 2/v*."""
    c = 0.0314

    def log_loss(s):
        return -log_time * mp.exp(c * s)

    T = 1 / (c * log_time)
    got, estimate = stiff_clock(T, h, log_loss)
    error = abs(got - exact_clock(T, h, log_loss, 1.0))
    assert error <= estimate + 1e-11 * T
    assert estimate < 1e-3 * T


def test_a_cubic_beats_a_straight_line_by_orders_of_magnitude_on_a_long_step():
    def log_loss(s):
        return -3000 * mp.exp(0.3 * s)

    T, h = 1 / 900, 0.8
    exact = exact_clock(T, h, log_loss, 1.0)
    slope = float((log_loss(h) - log_loss(0)) / h)
    line = 1 / -slope  # the layer of a straight line
    got, _ = stiff_clock(T, h, log_loss)
    assert abs(line / exact - 1) > 0.1
    assert abs(got / exact - 1) < 1e-5
