import functools
import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from ulpm.optimality import cross_entropy_polish
from ulpm.optimality.cross_entropy import CrossEntropyProgramme
from ulpm.optimality.cross_entropy_polish import polish_cross_entropy

SHARES, SCALES = np.array([0.5, 0.3, 0.15, 0.05]), np.array([1.0, 2.0, 0.5, 0.3])
BUDGET = CrossEntropyProgramme(SHARES, SCALES, budget=3.0)
PRICE = CrossEntropyProgramme(SHARES, SCALES, price=0.02)
BOTH = pytest.mark.parametrize("programme", [BUDGET, PRICE], ids=["budget", "price"])


def nuclear(X):
    return np.linalg.svd(X, compute_uv=False).sum()


def random_point(seed, programme=BUDGET):
    X = np.random.default_rng(seed).standard_normal((4, 4))
    X -= X.mean(0)
    return X * (min(programme.budget, 5.0) / nuclear(X))


def torch_loss(X):
    """The mean cross-entropy as torch knows it."""
    Z = X / torch.tensor(SCALES)
    losses = torch.nn.functional.cross_entropy(Z.T, torch.arange(len(Z)), reduction="none")
    return (torch.tensor(SHARES) * losses).sum()


def optimum(programme):
    return _optimum(programme.has_budget)


@functools.cache
def _optimum(has_budget):
    """The optimum by scipy in factors A B of full rank, from a random start: slow, and right to about 1e-8 in X."""

    programme = BUDGET if has_budget else PRICE

    def product(v):
        A, B = v.reshape(2, 4, 4)
        if programme.has_budget:
            A, B = (part * math.sqrt(programme.budget) / np.linalg.norm(part) for part in (A, B))
        return A, B

    def objective(v):
        A, B = product(v)
        return programme.loss(A @ B) + programme.price / 2 * (np.square(A).sum() + np.square(B).sum())

    start = np.random.default_rng(0).standard_normal(32)
    result = minimize(objective, start, method="BFGS", options={"gtol": 1e-9, "maxiter": 2000})
    A, B = product(result.x)
    return A @ B - (A @ B).mean(0)


@BOTH
def test_loss_residual_and_curvature_are_those_of_autograd(programme):
    X, dX = random_point(0), random_point(1)
    tensor = torch.tensor(X, requires_grad=True)
    loss = torch_loss(tensor)
    (gradient,) = torch.autograd.grad(loss, tensor, create_graph=True)
    (image,) = torch.autograd.grad((gradient * torch.tensor(dX)).sum(), tensor)
    assert programme.loss(X) == pytest.approx(float(loss.detach()), rel=1e-14)
    np.testing.assert_allclose(programme.residual(X), -gradient.detach(), rtol=0, atol=1e-15)
    np.testing.assert_allclose(programme.curvature(X, dX), image, rtol=0, atol=1e-15)
    assert programme.value(X) == pytest.approx(programme.loss(X) + programme.price * nuclear(X), rel=1e-14)
    assert programme.multiplier(X) == pytest.approx(np.linalg.norm(programme.residual(X), 2), rel=1e-14)


def test_a_loss_of_e_to_the_minus_900_has_a_relative_error_of_rounding():
    one = CrossEntropyProgramme(np.array([0.5, 0.5]), np.ones(2), budget=1.0)
    X = 450 * np.array([[1.0, -1.0], [-1.0, 1.0]]) - 100 * np.array([[1.0, -1.0], [-1.0, 1.0]])
    assert one.loss(X) == pytest.approx(math.exp(-700), rel=1e-13)
    np.testing.assert_allclose(one.residual(X)[0, 0], math.exp(-700) / 2, rtol=1e-13)


@BOTH
@pytest.mark.parametrize("seed", range(5))
def test_no_point_is_better_than_the_gap_of_another_allows(programme, seed):
    best = optimum(programme)
    X = random_point(seed, programme)
    excess = programme.value(X) - programme.value(best)
    assert 0 < excess <= programme.gap(X)


@BOTH
def test_the_gap_vanishes_at_the_optimum_and_only_there(programme):
    best = optimum(programme)
    assert abs(programme.gap(best)) <= 1e-6
    assert programme.gap(best + 0.1 * random_point(3)) >= 1e-3


@BOTH
@pytest.mark.parametrize("size", [1e-4, 1e-2, 0.1])
def test_the_optimum_is_within_the_bound_of_its_distance(programme, size):
    best = polish_cross_entropy(programme, optimum(programme), rank=3)
    X = best + size * random_point(4)
    if programme.has_budget:
        X = X * programme.budget / nuclear(X)
    distance = np.linalg.norm(X - best)
    assert distance <= programme.distance_bound(X)
    # The exact optimum is known to about the square root of rounding over the curvature of the rarest class.
    assert programme.distance_bound(best) <= 1e-5


def test_a_gap_too_wide_for_the_distance_bound_is_told():
    certain = CrossEntropyProgramme(np.array([0.5, 0.5]), np.ones(2), budget=50.0)
    X = 50 * np.array([[1.0, -1.0], [-1.0, 1.0]]) / 2
    assert certain.distance_bound(X) > 1e-3
    assert certain.distance_bound(-X) == math.inf


def test_the_jacobian_of_the_polish_is_the_derivative_of_minus_the_residual_and_symmetric():
    rng = np.random.default_rng(5)
    shapes = (4, 2), (2, 4), (1,)
    for programme in (BUDGET, PRICE):
        point, u, v = (tuple(rng.standard_normal(shape) for shape in shapes) for _ in range(3))
        if not programme.has_budget:  # the price is given
            u, v = ((*one[:2], np.zeros(1)) for one in (u, v))
        apply = cross_entropy_polish._jacobian(programme, point)
        h = 1e-5
        plus, minus = (
            cross_entropy_polish._residual(programme, tuple(p + sign * h * q for p, q in zip(point, u, strict=True)))
            for sign in (1, -1)
        )
        for image, a, b in zip(apply(u), plus, minus, strict=True):
            np.testing.assert_allclose(image, -(a - b) / (2 * h), rtol=0, atol=1e-8)
        left, right = (
            sum(np.vdot(a, b) for a, b in zip(apply(one), other, strict=True)) for one, other in ((u, v), (v, u))
        )
        assert left == pytest.approx(right, rel=1e-12)


@BOTH
def test_a_rough_answer_of_the_right_rank_becomes_exact(programme):
    best = polish_cross_entropy(programme, optimum(programme), rank=3)
    rough = best + 1e-3 * np.random.default_rng(6).standard_normal((4, 4))
    again = polish_cross_entropy(programme, rough, rank=3)
    np.testing.assert_allclose(again, best, rtol=0, atol=1e-12)
    assert abs(programme.gap(again)) <= 1e-15


@BOTH
def test_a_hopeless_start_of_the_polish_ends_without_warnings(programme):
    for X in (np.zeros((4, 4)), 1e200 * np.arange(16.0).reshape(4, 4) ** 2):
        assert polish_cross_entropy(programme, X, rank=2).shape == (4, 4)
