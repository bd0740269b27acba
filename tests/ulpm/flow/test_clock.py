import math

import mpmath
import pytest
import torch
from mpmath import mp

from ulpm.flow.clock import clock_rate, elapsed, log_time

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
