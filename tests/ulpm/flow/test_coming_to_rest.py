"""Where flows come to rest: at minima, not beside saddles however near, and without running on."""

import math

import pytest
import torch

import ulpm
from ulpm.flow.curvature import is_saddle
from ulpm.flow.system import FlowSystem

pytestmark = pytest.mark.usefixtures("unchecked")  # checks cost several times what the flows themselves do

SQUARED = ulpm.SquaredError()
TINY = {
    "cross-entropy": (ulpm.Problem([4] * 3, 4, weight_decay=(0.1, 0.1), reduction="mean"), 1e-12),
    "cross-entropy, dear": (ulpm.Problem([4] * 3, 4, weight_decay=(0.15, 0.15), reduction="mean"), 1e-11),
    "squared error": (ulpm.Problem([4] * 3, 4, loss=SQUARED, weight_decay=(0.1, 0.1), reduction="mean"), 1e-12),
    "squared error, sum": (ulpm.Problem([10] * 3, 4, loss=SQUARED, weight_decay=(1.5, 1.5)), 1e-12),
    "a rare class": (ulpm.Problem([10, 10, 1], 4, weight_decay=(0.35, 0.35)), 1e-12),
    "a rare class, squared error": (ulpm.Problem([10, 10, 1], 4, loss=SQUARED, weight_decay=(0.9, 0.9)), 1e-8),
}


def excess(path):
    return math.exp(float(path.log_loss[-1])) / ulpm.optimum(path.problem).value - 1


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("rtol", [1e-3, 1e-6])
def test_a_start_beside_the_saddle_at_the_origin_leaves_it(name, rtol, seed):
    """Where decay is of the size of the growth, what decays makes the speed fall at first."""
    problem, scale = TINY[name]
    path = ulpm.gradient_flow(
        problem, problem.random_state(seed=seed, scale=scale), log10_time=100, rtol=rtol, records=2, max_steps=2000
    )
    assert path.status is ulpm.Status.CONVERGED
    assert abs(excess(path)) < 1e-12


@pytest.mark.parametrize("decay", [0.9, 0.99])
@pytest.mark.parametrize("epsilon", [1e-8, 1e-11])
def test_a_state_beside_a_saddle_whose_rare_class_is_missing_leaves_it(decay, epsilon):
    problem = ulpm.Problem([10, 10, 1], 4, loss=SQUARED, weight_decay=(decay, decay))
    best = ulpm.optimum(problem).state
    W, H = best.W.clone(), best.H.clone()
    W[2], H[:, 20] = 0, 0
    start = ulpm.State(W, H) + epsilon * problem.random_state(seed=3)
    path = ulpm.gradient_flow(problem, start, log10_time=100, records=2, max_steps=2000)
    assert path.status is ulpm.Status.CONVERGED
    assert abs(excess(path)) < 1e-12


NEAR = 0.99 / 6
AT_REST = {
    "near the threshold": (ulpm.Problem([4] * 3, 4, weight_decay=(NEAR, NEAR), reduction="mean"), 1, torch.float64),
    "float32": (ulpm.Problem([3] * 3, 4, weight_decay=(5e-3, 1e-3)), 0, torch.float32),
    "rare classes": (ulpm.Problem([25, 25, 1, 1], 4, weight_decay=(0.02, 0.02), reduction="mean"), 0, torch.float64),
    "one dimension": (ulpm.Problem([3] * 3, 1, loss=SQUARED, weight_decay=(5e-3, 1e-3)), 0, torch.float64),
}


@pytest.mark.parametrize("name", AT_REST)
def test_a_flow_at_rest_does_not_run_on(name):
    """What is left are errors of linear solves and rounding, and these need not fall."""
    problem, seed, dtype = AT_REST[name]
    path = ulpm.gradient_flow(
        problem, problem.random_state(seed=seed, dtype=dtype), log10_time=100, records=2, max_steps=1000
    )
    assert path.status is ulpm.Status.CONVERGED
    if name != "one dimension":
        assert abs(excess(path)) < (1e-6 if dtype == torch.float32 else 1e-12)


def test_replicas_of_many_settings_all_come_to_rest():
    problem = ulpm.Problem([5] * 4, 20, weight_decay=(0.95 / (4 * 5**0.5),) * 2, reduction="mean")
    path = ulpm.gradient_flow(problem, problem.random_state(replicas=8), log10_time=200, records=2, max_steps=3000)
    assert set(path.status) == {ulpm.Status.CONVERGED}


def test_a_saddle_is_told_from_a_minimum_by_the_curvature():
    problem = ulpm.Problem([5] * 4, 4, weight_decay=(5e-3, 1e-3), reduction="mean")
    system = FlowSystem(problem, torch.device("cpu"))
    best = ulpm.optimum(problem).state
    points = torch.stack([best.vector(), 0 * best.vector()])
    found = is_saddle(system, points, torch.ones(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64))
    assert found.tolist() == [False, True]


def test_a_flow_that_rests_early_keeps_the_snapshots_that_it_reached():
    problem = ulpm.Problem([5] * 3, 4, weight_decay=(0.1, 0.1))
    path = ulpm.gradient_flow(problem, problem.random_state(seed=0), log10_time=1000, records=50, snapshots=25)
    assert path.status is ulpm.Status.CONVERGED
    assert path.snapshots is not None
    records = path.snapshots.records
    assert 1 < len(records) < 25
    assert int(records.max()) < len(path.log_time)
    assert len(path.snapshots.W) == len(path.snapshots.H) == len(records)
    norms = path.snapshots.W.square().sum((1, 2)) + path.snapshots.H.square().sum((1, 2))
    torch.testing.assert_close(norms, path.squared_norm[records], rtol=1e-12, atol=0)
