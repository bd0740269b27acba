"""Descent finds known optima, within the given norms."""

import math

import pytest
import torch

import ulpm
from theory_experiments.numerics.local_search import constrained_objective, descend, regularised_objective

PROBLEM = ulpm.Problem([3, 3, 3], 4)


def test_the_constrained_objective_is_the_mean_loss_on_the_spheres() -> None:
    problem = ulpm.Problem([4, 1, 2], 3)
    state = problem.random_state(1)
    value, W, H = constrained_objective(problem, 0.5, 3.0)(state.W, state.H)
    counts = torch.tensor([4, 4, 4, 4, 1, 2, 2])
    assert float(W.square().sum()) / 3 == pytest.approx(0.5)
    assert float((H.square().sum(0) / counts).sum()) / 3 == pytest.approx(3.0)
    Z = W @ H
    losses = [float(Z[:, i].logsumexp(0) - Z[k, i]) for i, k in enumerate(problem.labels.tolist())]
    assert float(value) == pytest.approx(sum(losses) / 7)


def test_descent_ends_at_the_balanced_optimum_of_both_models() -> None:
    starts = PROBLEM.random_state(2, replicas=2)
    values, W = descend(constrained_objective(PROBLEM, 1.0, 2.0), starts.W, starts.H)
    torch.testing.assert_close(values, torch.full((2,), math.log1p(2 * math.exp(-1.5 * math.sqrt(2)))).double())
    torch.testing.assert_close(W.square().sum(-1), torch.ones(2, 3, dtype=torch.float64), rtol=1e-4, atol=0)
    decay = 0.02
    gap = math.log(1 / (decay * math.sqrt(3)) - 2)
    values, _ = descend(regularised_objective(PROBLEM, decay, decay), starts.W, starts.H)
    best = math.log1p(2 * math.exp(-gap)) + decay * math.sqrt(3) * 2 * gap
    torch.testing.assert_close(values, torch.full((2,), best).double())
