"""The closed form of the ray in float64 agrees with 50 digits, and other losses with integrals by mpmath."""

import math

import mpmath
import numpy as np
import pytest
from mpmath import mp
from oracles import collapsed_ray, ray_log_time

from theory_experiments.numerics import rays


@pytest.mark.parametrize(("K", "n", "q0"), [(2, 1, 0.05), (4, 5, 1.0), (20, 50, 10.0)])
def test_time_and_margin_of_cross_entropy_are_right_to_rounding(K: int, n: int, q0: float) -> None:
    margins = q0 + np.array([0.5, 5.0, 38.0, 49.0, 60.0, 1e3, 2e6])
    found = rays.cross_entropy_log_time(margins, q0, K, n)
    for q, got in zip(margins, found, strict=True):
        want = ray_log_time(q, q0, K, n)
        assert float(mp.mpf(float(got)) - want) == pytest.approx(0, abs=1e-14 * max(1.0, abs(float(want))))
    log_times = np.array([-1.0, 0.0, 2.0, 40.0, 60.0, 1e4, 2.3e6])
    for log_time, q in zip(log_times, rays.cross_entropy_margin(log_times, q0, K, n), strict=True):
        want_q, want_loss = collapsed_ray(log_time, q0, K, n)
        assert float(q) == pytest.approx(float(want_q), rel=1e-14)
        log_loss = math.log(n * K) + rays.CROSS_ENTROPY.log_loss(np.array([float(want_q)]), K)[0]
        assert float(log_loss) == pytest.approx(float(want_loss), rel=1e-14, abs=1e-14)


def test_the_margin_is_found_where_rounding_of_log_t_exceeds_that_of_the_margin() -> None:
    log_times = np.linspace(0.7, 3, 5000)
    q = rays.cross_entropy_margin(log_times, 0.01, 16, 1)
    assert rays.cross_entropy_log_time(q, 0.01, 16, 1) == pytest.approx(log_times, abs=1e-14)


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0, 0.5])
def test_the_slope_is_the_derivative_of_the_loss(gamma: float) -> None:
    K = 5

    def phi(q: mpmath.mpf) -> mpmath.mpf:
        p = 1 / (1 + (K - 1) * mp.exp(-q))
        return (1 - p) ** gamma * -mp.log(p)

    with mp.workdps(60):
        for q in (0.1, 3.0, 40.0, 80.0):
            value, slope = phi(mp.mpf(q)), -mp.diff(phi, mp.mpf(q))
            tail, at = rays.tail(gamma), np.array([q])
            assert float(tail.log_loss(at, K)[0]) == pytest.approx(float(mp.log(value)), abs=1e-13)
            assert float(tail.log_minus_slope(at, K)[0]) == pytest.approx(float(mp.log(slope)), abs=1e-13)


def test_quadrature_of_cross_entropy_is_its_closed_form() -> None:
    q = np.array([100.0, 1e3, 1e6])
    want = rays.cross_entropy_log_time(q, 1.0, 4, 5)
    assert rays.log_time(rays.CROSS_ENTROPY, q, 4, 5) == pytest.approx(want, rel=1e-14, abs=1e-12)


def test_quadrature_of_focal_loss_is_that_of_mpmath() -> None:
    K, n, q = 3, 2, 100.0
    tail = rays.tail(2.0)

    def speed(s: mpmath.mpf) -> mpmath.mpf:
        x = (K - 1) * mp.exp(-s)
        e, log_one = x / (1 + x), mp.log1p(x)
        return -2 * s * n * K / ((K - 1) * mp.sqrt(n)) * -(e**2 * log_one * (2 / (1 + x) + e / log_one))

    with mp.workdps(30):
        want = mp.log(mp.quad(lambda s: 1 / speed(s), mp.linspace(60, q, 12)))
    assert float(rays.log_time(tail, np.array([q]), K, n)[0]) == pytest.approx(float(want), abs=1e-11)


def test_the_shift_is_what_is_left_of_the_time() -> None:
    for gamma in (0.0, 2.0):
        tail, q = rays.tail(gamma), np.array([1e4, 1e6])
        left = tail.kappa * q - rays.log_time(tail, q, 7, 3) - tail.shift(q, 7, 3)
        assert np.abs(left).max() < 2e-4
