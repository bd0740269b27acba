"""Escapes follow the predicted law at QUICK size; the rescaled time and the witnesses are checked by themselves."""

from pathlib import Path

import numpy as np
import pytest
import torch
from quick_runs import check_quick_run

import ulpm
from theory_experiments.theorems.escape import QUICK
from theory_experiments.theorems.escape.measurement import rescaled_time
from theory_experiments.theorems.escape.starts import near, witnesses


@pytest.mark.usefixtures("unchecked")
def test_the_quick_claims_hold_and_negative_controls_fail(tmp_path: Path) -> None:
    failing = {
        "the rate ‖R‖_op/L is claimed, without the growth of the norm": "Slope of the exit in s",
        "the start is the block point itself": "Exponent of log t at the exit",
    }
    check_quick_run("escape", tmp_path, failing)


def test_the_rescaled_time_of_the_records_is_the_integral_of_the_loss() -> None:
    integrate = pytest.importorskip("scipy.integrate")
    problem = ulpm.Problem([1, 2, 1], 3)
    start = problem.random_state(seed=0, scale=0.5)
    path = ulpm.gradient_flow(problem, start, log_time=5.0, records=400, rtol=1e-9)
    one_hot = np.eye(3)[problem.labels.numpy()].T

    def rate(_: float, v: np.ndarray) -> np.ndarray:
        W, H = v[:9].reshape(3, 3), v[9:21].reshape(3, 4)
        odds = np.exp(W @ H)
        R = one_hot - odds / odds.sum(0)
        loss = np.sum(np.log(odds.sum(0)) - (W @ H)[problem.labels.numpy(), np.arange(4)])
        return np.concatenate([(R @ H.T).ravel(), (W.T @ R).ravel(), [loss]])

    v = np.append(start.vector().numpy(), 0.0)
    expected = integrate.solve_ivp(rate, (0, np.exp(5.0)), v, method="DOP853", rtol=1e-10, atol=1e-12).y[-1, -1]
    assert float(rescaled_time(path)[-1]) == pytest.approx(expected, rel=1e-4)
    assert float(rescaled_time(path)[0]) == 0.0


@pytest.mark.parametrize(("K", "b", "n"), [(4, 2, 1), (6, 2, 2)])
def test_witnesses_are_orthonormal_and_contain_the_direction_that_the_package_finds(K: int, b: int, n: int) -> None:
    problem = ulpm.Problem([n] * K, K)
    basis = witnesses(problem, b)
    torch.testing.assert_close(basis @ basis.T, torch.eye(len(basis), dtype=torch.float64))
    found = ulpm.sphere_critical_point(problem, ulpm.block_state(problem, b, 20.0)).direction.vector()
    assert float((basis @ found).norm()) == pytest.approx(1, abs=1e-9)


def test_starts_lie_at_the_asked_distance_along_witnesses_and_off_them() -> None:
    problem = ulpm.Problem([1] * 4, 4)
    point, basis = ulpm.block_state(problem, 2, 5.0), witnesses(problem, 2)
    size = torch.tensor([1e-3, 1e-1], dtype=torch.float64)
    moved = near(QUICK, problem, point, basis, size, torch.Generator().manual_seed(0)).vector() - point.vector()
    along = moved @ basis.T
    torch.testing.assert_close(along.norm(dim=1), 5 * size)
    torch.testing.assert_close((moved - along @ basis).norm(dim=1), 5 * size)
