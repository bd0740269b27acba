import math

import numpy as np
import pytest
import torch
from oracles import random_arrays

from ulpm import Problem, State, _blocks, gradient_flow
from ulpm.geometry import block_state
from ulpm.objective import Objective
from ulpm.optimality import certify, kkt
from ulpm.state import Factors

blocks = pytest.mark.parametrize(("K", "b"), [(4, 2), (6, 2), (6, 3), (9, 3)])
samples = pytest.mark.parametrize("n", [1, 3])


def residuals(problem, W, H):
    objective = Objective(problem)
    loss, Z = objective.loss(Factors(W, H)), W @ H
    rows, R = objective.label_rows(Z), loss.residual
    return kkt.stationarity(W, H, Z, R), kkt.complementarity(rows, Z, R, loss.margin)


def separating(seed, counts, d):
    """A point with positive margins, far from any KKT point, as numpy arrays."""
    W, H, labels = random_arrays(seed, counts, d)
    H = 0.3 * H + 4 * np.linalg.pinv(W) @ (np.eye(len(counts))[labels].T)
    return W, H, labels


@pytest.mark.parametrize("seed", range(4))
def test_residuals_are_those_of_the_scaled_point_with_every_constraint_written_out(seed):
    counts, d = [2, 3, 1], 5
    W, H, labels = separating(seed, counts, d)
    stationarity, complementarity = residuals(Problem(counts, d), torch.tensor(W), torch.tensor(H))
    Z = W @ H
    pairs = [(i, j) for i in range(len(labels)) for j in range(len(counts)) if j != labels[i]]
    q = np.array([Z[labels[i], i] - Z[j, i] for i, j in pairs])
    assert q.min() > 0
    p = np.array([np.exp(Z[j, i]) / np.exp(Z[:, i]).sum() for i, j in pairs])
    scale = 1 / math.sqrt(q.min())
    gradients = []
    for i, j in pairs:
        dW, dH = np.zeros_like(W), np.zeros_like(H)
        dW[labels[i]], dW[j] = scale * H[:, i], -scale * H[:, i]
        dH[:, i] = scale * (W[labels[i]] - W[j])
        gradients.append(np.concatenate([dW.ravel(), dH.ravel()]))
    point = scale * np.concatenate([W.ravel(), H.ravel()])
    along = np.array(gradients).T @ p
    c = along @ point / (along @ along)
    multipliers = c * p
    assert (multipliers > 0).all()
    want = np.linalg.norm(point - np.array(gradients).T @ multipliers) / np.linalg.norm(point)
    assert float(stationarity) == pytest.approx(want, rel=1e-10)
    assert float(complementarity) == pytest.approx(multipliers @ (q / q.min() - 1) / multipliers.sum(), rel=1e-10)
    angle = math.acos(along @ point / np.linalg.norm(along) / np.linalg.norm(point))
    assert float(stationarity) == pytest.approx(math.sin(angle), rel=1e-6)


@blocks
@samples
@pytest.mark.parametrize("norm", [1e-3, 1.0, 10.0, 100.0, 1e3])
def test_block_states_are_stationary_at_any_norm(K, b, n, norm):
    problem = Problem([n] * K, K)
    # A float64 state has its margins rounded to 1e-16 of themselves, and the multipliers by as much as the margins.
    gap = norm**2 / (2 * K * math.sqrt(n))
    certificate = certify(problem, block_state(problem, b, norm))
    assert float(certificate.stationarity) <= max(1e-12, 1e-15 * gap)
    assert float(certificate.nuclear_upper_bound) == pytest.approx(K * math.sqrt(n), rel=1e-12)
    assert float(certificate.upper_bound) == pytest.approx(K * math.sqrt(n), rel=1e-12)


@blocks
@samples
@pytest.mark.parametrize("norm", [100.0, 1e3])
def test_block_states_of_large_norm_are_complementary(K, b, n, norm):
    problem = Problem([n] * K, K)
    assert abs(float(certify(problem, block_state(problem, b, norm)).complementarity)) <= 1e-12


def test_block_states_of_moderate_norm_are_not_yet_complementary():
    """Their margins within blocks are not active, and multipliers of them vanish only as the norm grows."""
    problem = Problem([1] * 6, 6)
    assert float(certify(problem, block_state(problem, 3, 5.0)).complementarity) > 0.01


@pytest.mark.parametrize(
    ("counts", "complementary"),
    [([5] * 4, -2.5), pytest.param([6, 3, 2], -1.0, marks=pytest.mark.slow)],
    ids=["balanced", "imbalanced"],
)
@pytest.mark.usefixtures("unchecked")
def test_residuals_decay_along_the_flow_with_the_known_powers_of_log_time(counts, complementary):
    problem = Problem(counts, 20)
    start = problem.random_state(seed=1)
    path = gradient_flow(problem, start, log_time=1e5, rtol=1e-8, records=60, snapshots=60)
    certificate = certify(problem, State(path.snapshots.W, path.snapshots.H))
    late = path.log_time > 300
    x = path.log_time[late].log().numpy()
    exponents = [
        np.polyfit(x, values[late].log().numpy(), 1)[0]
        for values in (certificate.stationarity, certificate.complementarity)
    ]
    # Corrections are of relative order 1/log t; the balanced slack ends at 1e-13, where rounding shows.
    assert exponents[0] == pytest.approx(-0.5, abs=0.02)
    assert exponents[1] == pytest.approx(complementary, abs=0.1)


def test_where_the_gradient_vanishes_the_point_is_stationary():
    """All features equal: each class pulls as much as it is pushed, and W = 0 moves no feature."""
    problem = Problem([2, 2, 2], 4)
    W, H = torch.zeros(3, 4, dtype=torch.float64), torch.ones(4, 6, dtype=torch.float64)
    stationarity, complementarity = residuals(problem, W, H)
    assert float(stationarity) == 0
    assert float(complementarity) == math.inf
    assert float(residuals(problem, W, 0 * H)[0]) == 0


@pytest.mark.parametrize("d", [1, 4])
def test_stationarity_is_the_same_however_features_lie_in_memory(d, monkeypatch):
    monkeypatch.setattr(_blocks, "SMALL", 7)
    problem = Problem([4] * 3, d)
    W, H, _ = (torch.from_numpy(part) for part in random_arrays(0, [4] * 3, d))
    samples_in_rows = torch.empty(12, d + 1, dtype=H.dtype)[:, :d].copy_(H.mT)
    found, want = (residuals(problem, W, features)[0] for features in (samples_in_rows.mT, H))
    assert float(found) == pytest.approx(float(want), rel=1e-13)
