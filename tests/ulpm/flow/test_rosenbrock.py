"""The Rosenbrock method on linear systems whose answer is a matrix exponential: order, stability, what breaks it."""

import math
from collections import deque

import numpy as np
import pytest
import torch
from scipy.linalg import expm

from ulpm.flow.krylov import KEPT, Solves
from ulpm.flow.methods import RODAS4
from ulpm.flow.rosenbrock import RosenbrockKrylov
from ulpm.flow.runge_kutta import Workspace

CPU = torch.device("cpu")
rng = np.random.default_rng(0)
BASIS = np.linalg.qr(rng.normal(size=(5, 5)))[0]
MILD = BASIS @ np.diag([-3.0, -2.0, -1.0, -0.5, 0.3]) @ BASIS.T
STIFF = BASIS @ np.diag([-1e8, -1e5, -1e3, -1.0, 0.2]) @ BASIS.T
START = rng.normal(size=5)


class Dense:
    """Resolvents of a matrix by a dense solver.

    ``error`` disturbs the answers, of all replicas or of each, and ``factor`` the matrix. ``kept`` counts the solves
    before each whose answers and images had to be there still, and were.
    """

    def __init__(self, y, matrix, error=0.0, factor=1.0):
        self.matrix, self.error = torch.tensor(factor * matrix), torch.as_tensor(error, dtype=y.dtype).view(-1, 1)
        self.kept = []
        self.last = deque(maxlen=KEPT)
        self.stiffness = torch.zeros(len(y), dtype=torch.float64)
        self.solves = Solves.none(self.stiffness)

    def solve(self, shift, rhs, tolerance, out):
        systems = shift[:, None, None] * torch.eye(rhs.shape[1], dtype=rhs.dtype) - self.matrix
        self.kept.append(len(self.last))
        for x, image in self.last:
            torch.testing.assert_close((systems @ x[..., None])[..., 0], image, rtol=1e-13, atol=1e-13, equal_nan=True)
        out.copy_(torch.linalg.solve(systems, rhs[..., None])[..., 0] * (1 + self.error))
        rhs.copy_((systems @ out[..., None])[..., 0])
        self.last.append((out, rhs))


def rate_function(matrix):
    """y' = matrix y into ``out``, and the first component as the monitored quantity."""

    def rate(y, out):
        out.copy_(y @ torch.tensor(matrix).T)
        return y[:, 0].clone()

    return rate


def integrate(matrix, h, end=1.0, start=START, **how):
    """(state at ``end``, the last trial) with steps h on y' = matrix y."""
    stepper = RosenbrockKrylov(RODAS4, torch.float64, CPU, Workspace())
    y, trial = torch.tensor(start)[None], None
    size, none = torch.tensor([h], dtype=torch.float64), torch.zeros(1, dtype=torch.float64)

    rate = rate_function(matrix)

    for _ in range(round(end / h)):
        trial = stepper.step(rate, lambda v: Dense(v, matrix, **how), y, y @ torch.tensor(matrix).T, size, none)
        y = trial.end
    return y[0].numpy(), trial


def slope(hs, errors):
    return np.polyfit(np.log(hs), np.log(errors), 1)[0]


HS = 1 / np.array([8, 12, 16, 24])


def test_the_global_error_falls_with_the_fourth_power_of_the_step():
    errors = [np.linalg.norm(integrate(MILD, h)[0] - expm(MILD) @ START) for h in HS]
    assert slope(HS, errors) == pytest.approx(4, abs=0.2)


def test_the_order_stays_four_on_a_stiff_system():
    """Eigenvalues to −1e8 with steps near 0.1: what is stiff is gone after the first steps, what is not is accurate."""
    start = BASIS[:, 3] + BASIS[:, 4] + 1e-3 * BASIS[:, 0]
    exact = BASIS @ np.diag(np.exp([-1e8, -1e5, -1e3, -1.0, 0.2])) @ BASIS.T
    errors = [np.linalg.norm(integrate(STIFF, h, start=start)[0] - exact @ start) for h in HS[:3]]
    # −1e8 costs eight digits of the linear solves: slopes are read above that.
    assert slope(HS[:3], errors) == pytest.approx(4, abs=0.3)


def test_the_error_estimate_is_of_order_three():
    hs = HS / 4
    errors = [np.linalg.norm(integrate(MILD, h, end=h)[1].error[0].numpy()) for h in hs]
    assert slope(hs, errors) == pytest.approx(4, abs=0.2)  # a local error


@pytest.mark.parametrize("theta", [0.25, 0.5, 0.8])
def test_the_interpolant_is_of_order_three_and_joins_the_ends(theta):
    def interpolated(h, at):
        _, trial = integrate(MILD, h, end=h)
        stepper = RosenbrockKrylov(RODAS4, torch.float64, CPU, Workspace())
        return stepper.interpolate(trial, torch.tensor([at], dtype=torch.float64), torch.tensor([0]))[0].numpy()

    errors = [np.linalg.norm(interpolated(h, theta) - expm(theta * h * MILD) @ START) for h in HS]
    assert slope(HS, errors) > 3.7  # a local error: at least four
    np.testing.assert_allclose(interpolated(0.1, 0.0), START, rtol=1e-15)
    np.testing.assert_allclose(interpolated(0.1, 1.0), integrate(MILD, 0.1, end=0.1)[0], rtol=1e-15)


def test_the_middle_is_the_interpolant_at_one_half():
    _, trial = integrate(MILD, 0.1, end=0.1)
    stepper = RosenbrockKrylov(RODAS4, torch.float64, CPU, Workspace())
    half = stepper.interpolate(trial, torch.tensor([0.5], dtype=torch.float64), torch.tensor([0]))
    torch.testing.assert_close(trial.middle, half, rtol=1e-14, atol=1e-14)


def test_it_is_l_stable():
    """A component with hλ = −1e7 is damped to nothing in one step, whatever the other components do."""
    start = BASIS[:, 0]
    end, _ = integrate(STIFF, 0.1, end=0.1, start=start)
    assert np.linalg.norm(end) < 1e-5


def test_a_wrong_jacobian_is_seen_in_the_order():
    """With a Jacobian off by a factor the method is a W-method of order 1 at best: a test of order catches it."""
    errors = [np.linalg.norm(integrate(MILD, h, factor=0.9)[0] - expm(MILD) @ START) for h in HS]
    assert slope(HS, errors) < 2.5


def test_a_loosened_solver_is_seen_in_the_error():
    exact = expm(MILD) @ START
    right = np.linalg.norm(integrate(MILD, 1 / 24)[0] - exact)
    loose = np.linalg.norm(integrate(MILD, 1 / 24, error=1e-3)[0] - exact)
    assert loose > 30 * right


def test_replicas_have_their_own_step_sizes():
    stepper = RosenbrockKrylov(RODAS4, torch.float64, CPU, Workspace())
    y = torch.tensor(np.stack([START, 2 * START, -START]))
    sizes = torch.tensor([0.1, 0.01, 0.3], dtype=torch.float64)

    rate = rate_function(MILD)

    none = torch.zeros(3, dtype=torch.float64)
    together = stepper.step(rate, lambda v: Dense(v, MILD), y, y @ torch.tensor(MILD).T, sizes, none)
    for b in range(3):
        alone, _ = integrate(MILD, float(sizes[b]), end=float(sizes[b]), start=y[b].numpy())
        np.testing.assert_allclose(together.end[b].numpy(), alone, rtol=1e-13)


def test_a_solve_that_fails_gives_an_error_that_is_not_finite():
    _, trial = integrate(MILD, 0.1, end=0.1, error=math.nan)
    assert not torch.isfinite(trial.error).all()


def test_answers_and_images_stay_as_they_are_for_two_more_solves():
    linear = Dense(torch.tensor(START)[None], MILD)
    stepper = RosenbrockKrylov(RODAS4, torch.float64, CPU, Workspace())
    y, size = torch.tensor(START)[None], torch.tensor([0.1], dtype=torch.float64)
    stepper.step(rate_function(MILD), lambda _: linear, y, y @ torch.tensor(MILD).T, size, torch.zeros_like(size))
    assert linear.kept == [0, 1, 2, 2, 2, 2]


def test_a_replica_whose_solve_fails_leaves_the_others_as_they_are():
    stepper = RosenbrockKrylov(RODAS4, torch.float64, CPU, Workspace())
    y = torch.tensor(np.stack([START, 2 * START]))
    sizes, none = torch.full((2,), 0.1, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    fails = [0.0, math.nan]
    trial = stepper.step(
        rate_function(MILD), lambda v: Dense(v, MILD, error=fails), y, y @ torch.tensor(MILD).T, sizes, none
    )
    alone, _ = integrate(MILD, 0.1, end=0.1)
    np.testing.assert_allclose(trial.end[0].numpy(), alone, rtol=1e-13)
    assert torch.isfinite(trial.error).all(1).tolist() == [True, False]
