"""Measured ends agree with scipy and closed forms, and exponentials differ from powers."""

import math

import pytest
import torch

import ulpm
from theory_experiments.numerics.finite_ends import (
    distances,
    fall,
    final_distances,
    last,
    rest_time,
    slowest_mode,
    straightness,
)

pytestmark = pytest.mark.usefixtures("unchecked_module")

NAN = math.nan


def test_the_last_record_is_that_of_each_replica() -> None:
    values = torch.tensor([[1.0, 4.0], [2.0, 5.0], [3.0, NAN]])
    torch.testing.assert_close(last(values), torch.tensor([3.0, 5.0]))
    torch.testing.assert_close(last(values[:, 0]), torch.tensor(3.0))


def test_flows_that_do_not_rest_have_no_time_of_rest() -> None:
    problem = ulpm.Problem([2] * 3, 4, loss=ulpm.SquaredError())
    start = problem.random_state(seed=1, replicas=2)
    rests = ulpm.gradient_flow(problem, start, log10_time=100, records=5)
    assert torch.isfinite(rest_time(rests)).all()
    early = ulpm.gradient_flow(problem, start[0], log_time=0.5, records=5)
    assert float(rest_time(early)) == math.inf


def test_distances_are_the_largest_of_entries_less_column_means_where_the_loss_does_not_see_them() -> None:
    for loss, shift in ((ulpm.CrossEntropy(label_smoothing=0.2), 0.0), (ulpm.SquaredError(), 1.5)):
        problem = ulpm.Problem([2, 1], 2, loss=loss)
        path = ulpm.gradient_flow(problem, problem.random_state(seed=0), log_time=0.0, records=3, snapshots=3)
        Z = path.final_state.W @ path.final_state.H
        target = Z[:, [0, 2]] + 1.5
        target[0, 1] += 4.0
        # The columns of class 0 differ from one another; that of class 1 by 4 (or by 2 from its mean) and the shift.
        expected = 2.0 if loss.conserves_sums else 4.0 + shift
        assert float(final_distances(path, target)) >= expected - 1e-12
        assert float(distances(path, target)[-1]) == pytest.approx(float(final_distances(path, target)), abs=1e-12)
    with pytest.raises(ValueError, match="no snapshots"):
        distances(ulpm.gradient_flow(problem, problem.random_state(), log_time=0.0, records=2), target)


def test_the_fall_lies_between_both_levels() -> None:
    distance = torch.tensor([5.0, 0.5, 2.0, 0.9, 0.4, 0.05, 0.5])
    assert fall(distance, 1.0, 0.1) == slice(3, 5)


def test_an_exponential_is_straight_in_time_and_bent_in_its_logarithm() -> None:
    time = torch.linspace(1, 50, 30, dtype=torch.float64)
    slope, left = straightness(time, -0.3 * time)
    assert slope == pytest.approx(-0.3)
    assert left < 1e-12
    assert straightness(time.log(), -0.3 * time)[1] > 0.5
    assert all(map(math.isnan, straightness(time[:4], time[:4])))


@pytest.mark.parametrize("smoothing", [0.05, 0.3])
def test_the_slowest_mode_of_the_simplex_has_the_rate_of_the_closed_form(smoothing: float) -> None:
    K, n = 4, 3
    problem = ulpm.Problem([n] * K, 5, loss=ulpm.CrossEntropy(label_smoothing=smoothing))
    q = math.log(1 + K * (1 - smoothing) / smoothing)
    end = ulpm.collapsed_state(problem, norm=math.sqrt(2 * (K - 1) * math.sqrt(n) * q))
    rate, mode = slowest_mode(problem, end)
    assert rate == pytest.approx(math.sqrt(n) * q * smoothing / K, rel=1e-9)
    assert float(mode.squared_norm) == pytest.approx(1)
    moved = problem.random_state(seed=3)
    with pytest.raises(KeyError):
        slowest_mode(ulpm.Problem([n] * K, 5, loss=ulpm.Focal(2.0)), moved)


def test_the_slowest_mode_of_an_orthogonal_frame_has_the_rate_of_its_factor() -> None:
    K, n = 3, 4
    problem = ulpm.Problem([n] * K, 5, loss=ulpm.SquaredError())
    W = n**0.25 * torch.eye(K, 5, dtype=torch.float64)
    H = n**-0.25 * torch.eye(5, K, dtype=torch.float64)[:, problem.labels]
    assert slowest_mode(problem, ulpm.State(W, H))[0] == pytest.approx(math.sqrt(n), rel=1e-9)
