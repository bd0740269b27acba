import math

import pytest
import torch
from oracles import autograd_field, autograd_log_loss

from ulpm import Problem, State
from ulpm.flow.system import FlowSystem

PROBLEM = Problem([2, 1, 3], 4)
SYSTEM = FlowSystem(PROBLEM, torch.device("cpu"))


@pytest.mark.parametrize("replicas", [None, 1, 3])
def test_packing_and_unpacking_give_the_state_back_at_time_zero(replicas):
    state = PROBLEM.random_state(seed=0, replicas=replicas)
    W, H, clock = SYSTEM.unpack(SYSTEM.pack(state))
    assert torch.equal(W if replicas else W[0], state.W)
    assert torch.equal(H if replicas else H[0], state.H)
    assert torch.equal(clock, torch.zeros(replicas or 1, dtype=torch.float64))


def test_the_rate_is_minus_the_gradient_of_log_loss_and_that_of_the_clock():
    state = PROBLEM.random_state(seed=0, replicas=3)
    y = SYSTEM.pack(state)
    y[:, -1] = torch.tensor([0.0, 0.3, 2.0], dtype=torch.float64)
    rate, log_loss = SYSTEM.rate(y)
    W_dot, H_dot, clock_dot = SYSTEM.unpack(rate)
    want_W, want_H = autograd_field(state.W, state.H, PROBLEM.labels)
    torch.testing.assert_close(W_dot, want_W, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(H_dot, want_H, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(log_loss, autograd_log_loss(state.W, state.H, PROBLEM.labels), rtol=1e-13, atol=0)
    squared = want_W.square().sum((1, 2)) + want_H.square().sum((1, 2))
    torch.testing.assert_close(clock_dot, 1 - y[:, -1] * squared, rtol=1e-11, atol=0)
    torch.testing.assert_close(SYSTEM.loss(y).log_loss, log_loss, rtol=1e-15, atol=0)


def ratio_of(error_in_state, error_in_clock, log_loss, rtol=1e-3):
    """The ratio at a point with ρ = 5 and T = 0.1."""
    y = SYSTEM.pack(PROBLEM.random_state(seed=0))
    y *= 5 / y.norm()
    y[:, -1] = 0.1
    error = torch.zeros_like(y)
    error[0, 3], error[0, -1] = error_in_state, error_in_clock
    log_loss = torch.tensor([log_loss], dtype=torch.float64)
    return float(SYSTEM.error_ratio(y, y, log_loss, error, rtol))


def test_the_error_of_the_state_counts_relative_to_its_norm():
    assert ratio_of(0.02, 0.0, 0.0) == pytest.approx(0.02 / 5 / 1e-3, rel=1e-12)


@pytest.mark.parametrize("log_loss", [5.0, 0.0, -1.0, -1000.0])
def test_the_error_of_the_clock_counts_relative_to_log_time_until_it_is_a_tenth_of_the_root_of_rtol(log_loss):
    rtol = 1e-8
    allowed = min(rtol * max(1.0, math.log(0.1) - log_loss), 0.1 * math.sqrt(rtol))
    assert ratio_of(0.0, 0.004, log_loss, rtol) == pytest.approx(0.004 / 0.1 / allowed, rel=1e-12)
    assert ratio_of(0.0, 0.004, -1e9, rtol) == pytest.approx(0.004 / 0.1 / (0.1 * math.sqrt(rtol)), rel=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_an_error_that_is_not_finite_is_infinite(bad):
    assert ratio_of(bad, 0.0, 0.0) == ratio_of(0.0, bad, 0.0) == math.inf


def test_a_clock_that_runs_below_zero_is_refused():
    y = SYSTEM.pack(PROBLEM.random_state(seed=0))
    end = y.clone()
    end[:, -1] = -1e-6
    assert float(SYSTEM.error_ratio(y, end, torch.zeros(1, dtype=torch.float64), torch.zeros_like(y), 1e-3)) == math.inf


def test_the_relative_size_leaves_the_clock_out_and_is_zero_at_zero():
    y = torch.zeros(2, 3 * 4 + 4 * 6 + 1, dtype=torch.float64)
    y[0, 0], y[:, -1] = 2.0, 7.0
    rate = torch.zeros_like(y)
    rate[0, 5], rate[:, -1] = 3.0, 1.0
    assert SYSTEM.relative_size(y, rate).tolist() == [1.5, 0.0]


def test_a_single_state_is_a_batch_of_one():
    state = PROBLEM.random_state(seed=0, replicas=1)
    assert torch.equal(SYSTEM.pack(state), SYSTEM.pack(State(state.W[0], state.H[0])))
