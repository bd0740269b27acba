"""The closed forms of ends with decay are those of ulpm.optimum and of a scalar equation, and errors are seen."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import approx_fprime

import ulpm
from theory_experiments.numerics.decayed_ends import Setting, closed_margin, end_claims, end_error, margin_rate

pytestmark = pytest.mark.usefixtures("unchecked_module")

SETTINGS = [
    Setting(4, 5, 4, 0.3, 4.0),
    Setting(3, 2, 5, 0.9, 1.0, 0.2),
    Setting(2, 7, 2, 1.1),
    Setting(4, 5, 4, 1.01, 1.0, 0.3),
]


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_closed_margin_is_that_of_the_optimum(setting: Setting) -> None:
    problem = setting.problem
    logits = ulpm.optimum(problem).logits
    assert closed_margin(problem) == pytest.approx(float(logits[0, 0] - logits[1, 0]), abs=1e-9)
    assert (closed_margin(problem) > 0) == (setting.strength < 1)
    λ_W, λ_H = problem.weight_decay
    assert λ_W / λ_H == pytest.approx(setting.ratio)
    Kc = setting.classes * math.sqrt(setting.samples * λ_W * λ_H)
    assert Kc / (1 - setting.smoothing) == pytest.approx(setting.strength)


@pytest.mark.parametrize("setting", [Setting(4, 5, 4, 0.3), Setting(3, 2, 5, 0.5, 1.0, 0.2)])
def test_the_rate_is_the_derivative_of_the_speed_on_the_ray(setting: Setting) -> None:
    problem, K, n = setting.problem, setting.classes, setting.samples
    λ, α = problem.weight_decay[0], setting.smoothing

    def speed(q: np.ndarray) -> float:
        wrong = (K - 1) * math.exp(-q[0])
        slope = -wrong / (1 + wrong) + α * (K - 1) / K
        return -2 * q[0] * slope / ((K - 1) * math.sqrt(n)) - 2 * λ * q[0]

    q = np.array([closed_margin(problem)])
    assert speed(q) == pytest.approx(0, abs=1e-12)
    assert -approx_fprime(q, speed, 1e-6)[0] == pytest.approx(margin_rate(problem), rel=1e-4)


def test_the_error_of_an_end_sees_logits_and_norms() -> None:
    problem = Setting(4, 5, 4, 0.3, 4.0).problem
    best = ulpm.optimum(problem).state
    assert best is not None
    path = ulpm.gradient_flow(problem, best, log_time=0.0, records=2)
    q = closed_margin(problem)
    assert end_error(path, q) < 1e-9
    assert end_error(path, q + 0.1) > 0.07
    assert end_error(path, 0.0) > 0.1
    stretched = ulpm.State(2 * best.W, best.H / 2)
    moved = ulpm.gradient_flow(problem, stretched, log_time=-20.0, records=2)
    assert end_error(moved, q) == pytest.approx(3, rel=1e-6)
    assert torch.isfinite(moved.log_loss).all()


@pytest.mark.parametrize(("log_time", "moving"), [(0.0, 2.0), (20.0, 0.0)])
def test_flows_that_were_stopped_before_they_came_to_rest_are_counted(log_time: float, moving: float) -> None:
    problem = Setting(4, 5, 4, 0.3).problem
    path = ulpm.gradient_flow(problem, problem.random_state(0, replicas=2), log_time=log_time, records=10)
    (claim,) = [
        claim
        for claim in end_claims([path], [closed_margin(problem)], 1e-6, "Kc ≥ 1", "largest")
        if "Status.CONVERGED" in claim.statement
    ]
    assert claim.measured == moving
    assert claim.holds == (moving == 0)
