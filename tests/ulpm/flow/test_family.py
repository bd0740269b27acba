"""Flows of every loss, with and without decay and bias, beside scipy's solvers, closed forms and known constants."""

import math

import numpy as np
import pytest
import torch
from oracles import plain_objective
from scipy.integrate import solve_ivp

import ulpm
from ulpm.state import State

pytestmark = pytest.mark.usefixtures("unchecked")  # checks cost several times what the flows themselves do

SMALL = {"class_counts": [3, 2], "feature_dim": 3}
FOLLOWED = {
    "cross-entropy, mean": ulpm.Problem(**SMALL, reduction="mean"),
    "cross-entropy, bias": ulpm.Problem(**SMALL, bias=True),
    "cross-entropy, decay": ulpm.Problem(**SMALL, weight_decay=(5e-3, 1e-3), reduction="mean"),
    "cross-entropy, all": ulpm.Problem([2, 3, 1], 4, weight_decay=(2e-3, 2e-3), bias=True),
    "smoothing": ulpm.Problem(**SMALL, loss=ulpm.CrossEntropy(label_smoothing=0.1)),
    "smoothing, decay": ulpm.Problem(
        **SMALL, loss=ulpm.CrossEntropy(label_smoothing=0.2), weight_decay=(1e-2, 3e-3), bias=True
    ),
    "focal 1/2": ulpm.Problem(**SMALL, loss=ulpm.Focal(gamma=0.5)),
    "focal 2": ulpm.Problem(**SMALL, loss=ulpm.Focal(gamma=2.0)),
    "focal, decay": ulpm.Problem(**SMALL, loss=ulpm.Focal(gamma=1.0), weight_decay=(5e-3, 1e-3), bias=True),
    "squared error": ulpm.Problem(**SMALL, loss=ulpm.SquaredError()),
    "squared error, decay": ulpm.Problem(
        **SMALL, loss=ulpm.SquaredError(), weight_decay=(5e-3, 1e-2), bias=True, reduction="mean"
    ),
}


def scipys(problem: ulpm.Problem, start: State, log_times: list[float]) -> np.ndarray:
    """Θ at the given log t, by DOP853 in t itself, with the gradient by torch's automatic differentiation."""
    parts = [part for part in start.factors if part is not None]

    def rate(t: float, y: np.ndarray) -> np.ndarray:
        at = start.like(torch.from_numpy(y))
        grown = [part.clone().requires_grad_() for part in at.factors if part is not None]
        slopes = torch.autograd.grad(plain_objective(problem, *grown), grown)
        return -State(*slopes).vector().numpy()

    assert len(parts) == (3 if problem.bias else 2)
    t_eval = np.exp(log_times)
    found = solve_ivp(
        rate, (0, t_eval[-1]), start.vector().numpy(), method="DOP853", t_eval=t_eval, rtol=1e-12, atol=1e-14
    )
    assert found.success
    return found.y.T


@pytest.mark.parametrize("name", FOLLOWED)
@pytest.mark.parametrize("log_times", [[1.0, 2.0, 4.0], pytest.param([1.0, 3.0, 6.0], marks=pytest.mark.slow)])
def test_a_flow_is_where_a_solver_of_high_order_is(name, log_times):
    problem = FOLLOWED[name]
    start = problem.random_state(seed=0)
    want = scipys(problem, start, log_times)
    for log_time, y in zip(log_times, want, strict=True):
        path = ulpm.gradient_flow(problem, start, log_time=log_time, rtol=1e-8, records=2)
        rho = np.linalg.norm(y)
        assert path.finished
        assert np.linalg.norm(path.final_state.vector().numpy() - y) / rho < 1e-6


@pytest.mark.parametrize("loss", [ulpm.CrossEntropy(), ulpm.SquaredError()], ids=lambda loss: loss.name)
def test_a_bias_leaves_the_origin_where_a_solver_of_high_order_sees_it_go(loss):
    problem = ulpm.Problem([3, 1], 2, loss=loss, bias=True)
    other = problem.random_state(seed=0)
    start = torch.stack([torch.zeros_like(other.vector()), other.vector()])
    path = ulpm.gradient_flow(problem, other.like(start), log_time=0.5, rtol=1e-8, records=2, max_steps=500)
    assert path.finished
    np.testing.assert_allclose(path.final_state.vector()[0], scipys(problem, 0.0 * other, [0.5])[0], rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", [name for name, problem in FOLLOWED.items() if problem.attained])
def test_a_flow_that_has_a_minimum_ends_there_and_says_so(name):
    problem = FOLLOWED[name]
    path = ulpm.gradient_flow(problem, problem.random_state(seed=1), log10_time=1e100, records=50)
    assert path.status is ulpm.Status.CONVERGED
    assert path.finished
    again = ulpm.gradient_flow(problem, path.final_state, log_time=20.0, rtol=1e-9, records=2)
    moved = (again.final_state - path.final_state).vector().norm() / path.final_state.vector().norm()
    assert float(moved) < 1e-8
    # The last record is the end, at its own time.
    assert float(path.log_time[-1]) < 40
    assert float(path.squared_norm[-1]) == pytest.approx(float(path.final_state.squared_norm), rel=1e-12)


@pytest.mark.parametrize("scale", [1e-3, 1.0, pytest.param(30.0, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("K", "n", "decay", "reduction"),
    [
        (4, 3, (5e-3, 1e-3), "mean"),
        (2, 1, (1e-2, 1e-2), "mean"),
        (3, 7, (1e-4, 2e-3), "mean"),
        (7, 2, (3e-2, 1e-3), "sum"),
        (12, 5, (2e-3, 5e-4), "mean"),
    ],
)
def test_a_decayed_flow_ends_at_the_closed_form_from_any_scale(K, n, decay, reduction, scale):
    """q = log[(1 − (K−1)c)/c], c = √(n λ_W λ_H) of the mean; the sum has its λ divided by N."""
    problem = ulpm.Problem([n] * K, K, weight_decay=decay, reduction=reduction)
    path = ulpm.gradient_flow(problem, problem.random_state(seed=0, scale=scale), log10_time=100, records=2)
    λ_W, λ_H = decay if reduction == "mean" else (λ / problem.num_samples for λ in decay)
    c = math.sqrt(n * λ_W * λ_H)
    q = math.log((1 - (K - 1) * c) / c)
    assert path.status is ulpm.Status.CONVERGED
    W, H = path.final_state.W, path.final_state.H
    assert float(path.margin[-1]) == pytest.approx(q, abs=1e-7)
    features, rows = H.square().sum(0), W.square().sum(1)
    assert torch.allclose(features, torch.full_like(features, q * (K - 1) / (K * n**0.5) * (λ_W / λ_H) ** 0.5), 1e-7)
    assert torch.allclose(rows, torch.full_like(rows, q * (K - 1) * n**0.5 / K * (λ_H / λ_W) ** 0.5), rtol=1e-7)


@pytest.mark.parametrize("loss", [ulpm.CrossEntropy(), ulpm.CrossEntropy(label_smoothing=0.1), ulpm.SquaredError()])
def test_a_decay_that_is_too_dear_ends_a_flow_at_zero(loss):
    problem = ulpm.Problem([2] * 4, 4, loss=loss, weight_decay=(0.4, 0.4), reduction="mean")
    path = ulpm.gradient_flow(problem, problem.random_state(seed=0), log10_time=100, records=10)
    assert path.status is ulpm.Status.CONVERGED
    assert float(path.squared_norm[-1]) < 1e-15


def test_label_smoothing_alone_ends_at_its_margin_whatever_the_counts_and_the_start():
    problem = ulpm.Problem([5, 2, 1], 4, loss=ulpm.CrossEntropy(label_smoothing=0.1), bias=True)
    path = ulpm.gradient_flow(problem, problem.random_state(seed=0, replicas=3), log10_time=50, records=30)
    assert set(path.status) == {ulpm.Status.CONVERGED}
    last = (~path.margin.isnan()).sum(0) - 1
    margins = path.margin.gather(0, last[None])[0]
    assert torch.allclose(margins, torch.full_like(margins, math.log(1 + 3 * 0.9 / 0.1)), atol=1e-8)


def test_squared_error_without_decay_ends_at_the_labels():
    problem = ulpm.Problem([3, 2, 4], 4, loss=ulpm.SquaredError())
    state = ulpm.gradient_flow(problem, problem.random_state(seed=0), log10_time=50, records=2).final_state
    assert torch.allclose(state.W @ state.H, torch.eye(3, dtype=torch.float64)[:, problem.labels], atol=1e-9)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
def test_the_constants_of_focal_loss_are_those_of_its_tail(gamma):
    problem = ulpm.Problem([5] * 4, 20, loss=ulpm.Focal(gamma))
    path = ulpm.gradient_flow(problem, problem.random_state(seed=0), log10_time=1e6, records=3)
    v, κ = problem.minimum_norm_value, 1 + gamma
    log_t = float(path.log_time[-1])
    assert path.finished
    assert math.exp(float(path.log_loss[-1]) + log_t) * log_t == pytest.approx(v / (2 * κ), rel=1e-3)
    assert float(path.squared_norm[-1]) / log_t == pytest.approx(2 * v / κ, rel=1e-3)
    assert float(path.invariant_drift["balancedness"].max()) < 1e-4
    assert float(path.invariant_drift["classifier_sum"].max()) < 2e-12


def test_equal_decay_of_both_factors_shrinks_their_difference_at_a_known_rate():
    problem = ulpm.Problem([3, 2], 3, weight_decay=(1e-2, 1e-2))
    path = ulpm.gradient_flow(problem, problem.random_state(seed=0), log_time=6.0, rtol=1e-8, records=30)
    assert set(path.invariant_drift) == {"balancedness", "classifier_sum"}
    assert all(float(drift.max()) < 1e-7 for drift in path.invariant_drift.values())
    wrong = ulpm.Problem([3, 2], 3, weight_decay=(1e-2, 1.1e-2))
    assert (
        "balancedness" not in ulpm.gradient_flow(wrong, wrong.random_state(), log_time=1.0, records=2).invariant_drift
    )


def test_a_flow_with_decay_and_bias_is_resumed_bit_for_bit(tmp_path):
    problem = ulpm.Problem(
        [3, 2], 3, loss=ulpm.CrossEntropy(label_smoothing=0.1), weight_decay=(1e-3, 1e-2), bias=True, reduction="mean"
    )
    start = problem.random_state(seed=0, replicas=2)
    whole = ulpm.gradient_flow(problem, start, log10_time=50, records=20, snapshots=3)
    ulpm.gradient_flow(problem, start, log10_time=50, records=20, snapshots=3, max_steps=30, checkpoint=tmp_path / "c")
    resumed = ulpm.resume_flow(tmp_path / "c", max_steps=1000)
    resumed.save(tmp_path / "run.safetensors")
    loaded = ulpm.Trajectory.load(tmp_path / "run.safetensors")
    assert loaded.problem == problem
    assert loaded.status == whole.status
    for path in (resumed, loaded):
        assert torch.equal(path.final_state.vector(), whole.final_state.vector())
        assert torch.equal(path.snapshots.b.nan_to_num(), whole.snapshots.b.nan_to_num())
        for name, column in whole.columns().items():
            assert torch.equal(path.columns()[name].nan_to_num(), column.nan_to_num()), name


@pytest.mark.parametrize("name", FOLLOWED)
def test_small_steps_of_gradient_descent_follow_the_flow(name):
    problem = FOLLOWED[name]
    start = problem.random_state(seed=0)
    flow = ulpm.gradient_flow(problem, start, log_time=1.0, records=2).final_state
    errors = []
    for steps in (1000, 2000):
        rate = math.e / steps
        descent = ulpm.gradient_descent(problem, start, learning_rate=rate, steps=steps, records=2).final_state
        errors.append(float((descent - flow).vector().norm()))
    assert errors[1] < 0.01
    assert errors[0] / errors[1] == pytest.approx(2.0, abs=0.1)
