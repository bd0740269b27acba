"""Features that move c times as fast are the model itself in other units."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

import ulpm
import ulpm.forecasting.model_flow
from ulpm.forecasting import (
    ModelFlow,
    decay_with_mobility,
    measured_mobility,
    random_start,
    with_mobility,
)

pytestmark = pytest.mark.usefixtures("unchecked_module")

PROBLEM = ulpm.Problem([4, 3, 2], 5)


def integrated(
    state: ulpm.State, mobility: float, time: float, decay: tuple[float, float] = (0.0, 0.0)
) -> tuple[np.ndarray, np.ndarray]:
    """dW/dt = R Hᵀ − λ_W W, dH/dt = c (Wᵀ R − λ_H H) by scipy, with residuals from a plain softmax."""
    K, d, N = PROBLEM.num_classes, PROBLEM.feature_dim, PROBLEM.num_samples
    labels = np.eye(K)[:, PROBLEM.labels.numpy()]

    def rate(_: float, y: np.ndarray) -> np.ndarray:
        W, H = y[: K * d].reshape(K, d), y[K * d :].reshape(d, N)
        weights = np.exp(W @ H - (W @ H).max(0))
        R = labels - weights / weights.sum(0)
        λ_W, λ_H = decay
        return np.concatenate([(R @ H.T - λ_W * W).ravel(), mobility * (W.T @ R - λ_H * H).ravel()])

    start = np.concatenate([state.W.numpy().ravel(), state.H.numpy().ravel()])
    end = solve_ivp(rate, (0, time), start, method="DOP853", rtol=1e-11, atol=1e-12).y[:, -1]
    return end[: K * d].reshape(K, d), end[K * d :].reshape(d, N)


@pytest.mark.parametrize("mobility", [0.25, 1.0, 40.0])
def test_the_flow_from_the_rescaled_state_is_the_flow_with_that_mobility(mobility: float) -> None:
    state = PROBLEM.random_state(seed=1)
    W, H = integrated(state, mobility, 0.7)
    log_time = math.log(0.7 * math.sqrt(mobility))
    path = ulpm.gradient_flow(PROBLEM, with_mobility(state, mobility), log_time=log_time, rtol=1e-10)
    found = path.final_state
    np.testing.assert_allclose((found.W * mobility**-0.25).numpy(), W, rtol=0, atol=1e-8)
    np.testing.assert_allclose((found.H * mobility**0.25).numpy(), H, rtol=0, atol=1e-8)
    expected = ulpm.neural_collapse(torch.from_numpy(W), torch.from_numpy(H), PROBLEM.labels)
    for name, value in expected.items():
        assert float(path.metrics[name][-1]) == pytest.approx(float(value), rel=1e-6, abs=1e-12), name


def test_with_decay_it_is_the_flow_of_the_same_objective() -> None:
    state, mobility, decay = PROBLEM.random_state(seed=1), 40.0, (0.5, 0.02)
    decayed = dataclasses.replace(PROBLEM, weight_decay=decay)
    problem = decay_with_mobility(decayed, mobility)
    same = ulpm.log_loss(problem, with_mobility(state, mobility))
    assert float(same) == pytest.approx(float(ulpm.log_loss(decayed, state)))
    W, H = integrated(state, mobility, 0.7, decay)
    log_time = math.log(0.7 * math.sqrt(mobility))
    path = ulpm.gradient_flow(problem, with_mobility(state, mobility), log_time=log_time, rtol=1e-10, records=2)
    found = with_mobility(path.final_state, 1 / mobility)
    np.testing.assert_allclose(found.W.numpy(), W, rtol=0, atol=1e-8)
    np.testing.assert_allclose(found.H.numpy(), H, rtol=0, atol=1e-8)


def test_a_flow_at_rest_stays_there() -> None:
    decayed = dataclasses.replace(PROBLEM, weight_decay=(0.3, 0.3))
    flow = ModelFlow("own", decayed, PROBLEM.random_state(seed=0), 1.0, starts_at=1.0)
    path = ulpm.gradient_flow(decayed, flow.start, log_time=math.log(1e8), records=20)
    assert path.status is ulpm.Status.CONVERGED
    curve = flow.curve(path, 1e9)
    assert curve.flow_time[-1] == 1e9
    assert curve.at("flow_time", 1e8)["nc1_ratio"] == pytest.approx(float(path.metrics["nc1_ratio"][-1]))
    penalty = float(path.log_penalty[0].exp())
    assert curve.train_loss[0] * PROBLEM.num_samples == pytest.approx(float(path.log_loss[0].exp()) - penalty)
    assert curve.train_loss[0] * PROBLEM.num_samples == pytest.approx(float(ulpm.log_loss(PROBLEM, flow.state).exp()))


def test_the_mobility_of_a_state_is_the_one_that_makes_its_norms_equal() -> None:
    state = ulpm.State(PROBLEM.random_state(seed=2).W, 30 * PROBLEM.random_state(seed=2).H)
    same = with_mobility(state, measured_mobility(state))
    assert float(same.W.norm()) == pytest.approx(float(same.H.norm()), rel=1e-12)
    torch.testing.assert_close(same.W @ same.H, state.W @ state.H)


def test_a_flow_that_grew_from_nothing_shows_its_mobility() -> None:
    state = ulpm.State(1e-3 * PROBLEM.random_state(seed=0).W, 1e-3 * PROBLEM.random_state(seed=0).H)
    W, H = integrated(state, 25.0, 3.0)
    assert measured_mobility(ulpm.State(torch.from_numpy(W), torch.from_numpy(H))) == pytest.approx(25, rel=0.02)


def test_a_random_start_has_the_norms_asked_for_and_depends_on_its_seed() -> None:
    like = ulpm.State(3 * PROBLEM.random_state(seed=2).W, 7 * PROBLEM.random_state(seed=2).H)
    a, again, b = (random_start(PROBLEM, like, seed) for seed in (0, 0, 1))
    assert float(a.W.norm()) == pytest.approx(float(like.W.norm()))
    assert float(a.H.norm()) == pytest.approx(float(like.H.norm()))
    assert torch.equal(a.H, again.H)
    assert not torch.equal(a.H, b.H)


def test_a_flow_passes_both_ends_and_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "flow.safetensors"
    flow = ModelFlow("own", PROBLEM, PROBLEM.random_state(seed=0), 9.0, starts_at=2.0)
    for log_loss, flow_time in ((-1.0, 2.5), (1.0, 30.0), (5.0, 3.0)):
        curve = flow.curve(flow.follow(log_loss, flow_time, file, 1e-6, progress=False))
        assert curve.flow_time[0] == 2.0
        assert curve.flow_time[-1] >= flow_time * (1 - 1e-9)
        assert math.log(curve.train_loss[-1] * PROBLEM.num_samples) <= log_loss + 1e-9
    written = file.read_bytes()
    monkeypatch.setattr(ulpm.forecasting.model_flow, "gradient_flow", None)  # it must not be asked for again
    again = flow.curve(flow.follow(5.0, 3.0, file, 1e-6, progress=False))
    np.testing.assert_array_equal(again.train_loss, curve.train_loss)
    assert file.read_bytes() == written
    monkeypatch.undo()
    other = ModelFlow("own", PROBLEM, PROBLEM.random_state(seed=1), 9.0, starts_at=2.0)
    assert other.curve(other.follow(5.0, 3.0, file, 1e-6, progress=False)).train_loss[0] != curve.train_loss[0]
