import math

import numpy as np
import pytest
import torch
from scipy.linalg import expm

from ulpm import Problem
from ulpm.distributed import Shard
from ulpm.flow.layout import Layout
from ulpm.flow.methods import TSITOURAS
from ulpm.flow.runge_kutta import ExplicitRungeKutta, Workspace

CPU = torch.device("cpu")
# Rotation, decay and a coupling: neither normal nor symmetric, of size about 2.
MATRIX = np.array([[-1.0, 2.0, 0.0, 0.3], [-2.0, -0.5, 0.4, 0.0], [0.1, 0.0, -1.5, 1.0], [0.0, 0.7, -1.0, 0.2]])
START = np.array([1.0, -0.5, 0.25, 2.0])


def linear(y, out):
    """y' = M y into ``out``, and the first component as the monitored quantity."""
    out.copy_(y @ torch.tensor(MATRIX).T)
    return y[:, 0].clone()


def rate_of(y):
    out = torch.empty_like(y)
    linear(y, out)
    return out


def exact(t):
    return expm(MATRIX * t) @ START


def stepper(dtype=torch.float64):
    return ExplicitRungeKutta(TSITOURAS, dtype, CPU, Workspace())


def one_step(h, y=START):
    y = torch.tensor(np.atleast_2d(y))
    return stepper().step(linear, y, rate_of(y), torch.full((len(y),), h, dtype=torch.float64))


def slope(hs, errors):
    return np.polyfit(np.log(hs), np.log(errors), 1)[0]


HS = 1 / np.arange(10, 41, 5)  # local errors from 1e-7 to 1e-12 of the state: above rounding, below the curve
# The leading error of this pair is so small that the next one is seen in longer steps.
SHORT = 1 / np.arange(30, 91, 10)


def test_the_global_error_falls_with_the_fifth_power_of_the_step():
    errors = []
    for h in SHORT:
        y = torch.tensor(START)[None]
        rate = rate_of(y)
        for _ in range(round(1 / h)):
            trial = stepper().step(linear, y, rate, torch.tensor([h], dtype=torch.float64))
            y, rate = trial.end, trial.end_rate
        errors.append(np.linalg.norm(y[0].numpy() - exact(1.0)))
    assert slope(SHORT, errors) == pytest.approx(5, abs=0.2)


def test_the_local_error_falls_with_the_sixth_power_of_the_step():
    hs = SHORT[:4]
    errors = [np.linalg.norm(one_step(h).end[0].numpy() - exact(h)) for h in hs]
    assert slope(hs, errors) == pytest.approx(6, abs=0.2)


def test_the_error_estimate_falls_with_the_fifth_power_of_the_step():
    estimates = [float(one_step(h).error.norm()) for h in HS]
    assert slope(HS, estimates) == pytest.approx(5, abs=0.2)


def test_the_error_estimate_bounds_the_true_local_error():
    for h in HS:
        trial = one_step(h)
        assert np.linalg.norm(trial.end[0].numpy() - exact(h)) < float(trial.error.norm())


@pytest.mark.parametrize("theta", [0.1, 0.2, 0.4])
def test_the_interpolant_has_order_four(theta):
    """It is wrong by O(h⁵) inside one step. Of this pair the factor of h⁵ nearly vanishes from θ = 0.6 on."""
    errors = []
    for h in HS:
        y = stepper().interpolate(one_step(h), torch.tensor([theta], dtype=torch.float64), torch.tensor([0]))
        errors.append(np.linalg.norm(y[0].numpy() - exact(theta * h)))
    assert slope(HS, errors) == pytest.approx(5, abs=0.3)


def test_the_middle_is_the_interpolant_at_one_half():
    trial = one_step(0.3, np.stack([START, 2 * START]))
    half = torch.full((2,), 0.5, dtype=torch.float64)
    want = stepper().interpolate(trial, half, torch.arange(2))
    torch.testing.assert_close(trial.middle, want, rtol=1e-14, atol=1e-14)


def test_steps_in_one_workspace_leave_the_state_that_they_start_from_alone():
    """Each step starts where the last one ended, in memory of the workspace, or again where that one did."""
    method = stepper()
    y, h = torch.tensor(START)[None], torch.tensor([0.1], dtype=torch.float64)
    for i in range(7):
        before = y.clone()
        end = method.step(linear, y, rate_of(y), h).end
        assert torch.equal(y, before)
        assert torch.equal(end, one_step(0.1, before.numpy()).end)
        y = y if i % 3 == 0 else end


def test_a_workspace_with_room_for_the_larger_method_does_not_move_between_methods():
    """Memory that grows while the state is in the old one would have to be paid twice."""
    work, y = Workspace(8), torch.tensor(START)[None]
    stages, scratch, *_ = work.vectors(7, y)
    more, same_scratch, *_ = work.vectors(8, y)
    assert len(stages) == 7
    assert len(more) == 8
    assert (more.data_ptr(), same_scratch.data_ptr()) == (stages.data_ptr(), scratch.data_ptr())


def test_the_interpolant_starts_and_ends_at_the_step_for_the_asked_replicas_only():
    trial = one_step(0.3, np.stack([START, 2 * START, -START]))
    rows, theta = torch.tensor([2, 0]), torch.tensor([1.0, 0.0], dtype=torch.float64)
    y = stepper().interpolate(trial, theta, rows)
    assert torch.equal(y[1], trial.start[0])
    torch.testing.assert_close(y[0], trial.end[2], rtol=1e-13, atol=1e-13)


def test_the_last_stage_is_the_rate_at_the_end_and_so_is_the_monitor():
    trial = one_step(0.2)
    assert torch.equal(trial.end_rate, rate_of(trial.end))
    assert torch.equal(trial.end_monitor, trial.end[:, 0])
    assert torch.equal(trial.stages[0], rate_of(trial.start))


def test_a_step_costs_six_evaluations():
    calls = 0

    def counted(y, out):
        nonlocal calls
        calls += 1
        return linear(y, out)

    y = torch.tensor(START)[None]
    stepper().step(counted, y, rate_of(y), torch.tensor([0.1], dtype=torch.float64))
    assert calls == stepper().evaluations_per_step == 6


def test_steps_of_several_sizes_are_the_separate_steps():
    y = torch.tensor(np.stack([START, 3 * START, -START]))
    sizes = torch.tensor([0.01, 0.3, 1.0], dtype=torch.float64)
    together = stepper().step(linear, y, rate_of(y), sizes)
    for b, h in enumerate(sizes.tolist()):
        alone = one_step(h, y[b].numpy())
        for name in ("end", "error", "end_rate"):
            torch.testing.assert_close(getattr(together, name)[b], getattr(alone, name)[0], rtol=1e-13, atol=1e-15)


def test_a_step_leaves_its_arguments_as_they_are():
    y = torch.tensor(START)[None]
    rate, h = rate_of(y), torch.tensor([0.1], dtype=torch.float64)
    before = y.clone(), rate.clone(), h.clone()
    stepper().step(linear, y, rate, h)
    assert all(torch.equal(a, b) for a, b in zip(before, (y, rate, h), strict=True))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("stage", range(1, 7))
def test_a_stage_that_is_not_finite_gives_an_error_that_is_not_finite_and_no_exception(bad, stage):
    calls = 0

    def breaks(y, out):
        nonlocal calls
        calls += 1
        monitor = linear(y, out)
        if calls == stage:
            out[0, 0] = bad
        return monitor

    y = torch.tensor(np.stack([START, START]))
    trial = stepper().step(breaks, y, rate_of(y), torch.tensor([0.1, 0.1], dtype=torch.float64))
    assert not torch.isfinite(trial.error[0]).all()
    # The replica beside it does not notice: the error is a sum of stages of size 4 that nearly cancel.
    torch.testing.assert_close(trial.error[1], one_step(0.1).error[0], rtol=0, atol=1e-15)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_step_stays_in_its_precision(dtype):
    y = torch.tensor(START, dtype=dtype)[None]

    def rate_function(y, out):
        torch.neg(y, out=out)
        return y[:, 0]

    trial = stepper(dtype).step(rate_function, y, -y, torch.tensor([0.01], dtype=dtype))
    assert {trial.end.dtype, trial.error.dtype, trial.end_rate.dtype} == {dtype}
    torch.testing.assert_close(trial.end, y * math.exp(-0.01), rtol=4 * torch.finfo(dtype).eps, atol=0)


class OneOfTwo(Shard):
    """A process whose other one has nothing."""

    def all_gather(self, part):
        return torch.stack([part, torch.zeros_like(part)])


def test_processes_with_unequal_shares_agree_on_what_both_hold():
    """Both hold the first 64 numbers; one has a column less, and vectors on the other side of any limit of sizes."""
    shared, columns = 64, [2**k - 64 + less for k in (10, 17, 20) for less in (0, -8)]
    # Of the problem only W, of 64 numbers, matters.
    layout = Layout(Problem([1] * 8, 8), OneOfTwo(0, 2))
    y = torch.linspace(1, 2, shared + max(columns), dtype=torch.float64)[None]
    h = torch.tensor([0.37], dtype=torch.float64)

    def cube(y, out):
        torch.mul(y * y, y, out=out).neg_()
        return y[:, 0]

    ends = []
    for own in columns:
        here = y[:, : shared + own].clone()
        method = ExplicitRungeKutta(TSITOURAS, torch.float64, CPU, Workspace(), layout)
        trial = method.step(cube, here, -(here**3), h)
        ends.append(torch.cat([trial.end[:, :shared], trial.middle[:, :shared]]))
    assert all(torch.equal(end, ends[0]) for end in ends)
