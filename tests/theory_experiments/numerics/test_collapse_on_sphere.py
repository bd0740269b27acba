"""The closed forms at collapse agree with the package, with high precision and with the dense Hessian."""

import math

import mpmath
import pytest
import torch

import ulpm
from theory_experiments.numerics import collapse_on_sphere
from theory_experiments.numerics.critical_points import landscape, on_sphere
from theory_experiments.numerics.vectors import unflat

PROBLEM = ulpm.Problem([3] * 4, 5)
MARGINS = [0.01, 1.0, 20.0, 40.0, 800.0]


@pytest.mark.parametrize("q", MARGINS)
def test_all_margins_at_the_norm_of_a_margin_are_that_margin(q: float) -> None:
    state = ulpm.collapsed_state(PROBLEM, collapse_on_sphere.norm(PROBLEM, q))
    assert float(ulpm.margin(PROBLEM, state)) == pytest.approx(q, rel=1e-12)
    assert collapse_on_sphere.value(PROBLEM) == pytest.approx(PROBLEM.minimum_norm_value, rel=1e-12)


@pytest.mark.parametrize("q", MARGINS)
def test_loss_and_multiplier_are_those_of_the_formulas_in_fifty_digits(q: float) -> None:
    with mpmath.workdps(500):
        x = 3 * mpmath.exp(-mpmath.mpf(q))
        log_loss = mpmath.log(12 * mpmath.log(1 + x))
        multiplier = x / (1 + x) / mpmath.log(1 + x) / (3 * mpmath.sqrt(3))
    assert collapse_on_sphere.log_loss(PROBLEM, q) == pytest.approx(float(log_loss), rel=1e-12)
    assert collapse_on_sphere.multiplier(PROBLEM, q) == pytest.approx(float(multiplier), rel=1e-11)


@pytest.mark.parametrize("q", MARGINS)
def test_loss_and_multiplier_are_those_of_the_package_at_collapse(q: float) -> None:
    state = ulpm.collapsed_state(PROBLEM, collapse_on_sphere.norm(PROBLEM, q))
    point = ulpm.sphere_critical_point(PROBLEM, state)
    assert collapse_on_sphere.log_loss(PROBLEM, q) == pytest.approx(float(ulpm.log_loss(PROBLEM, state)), rel=1e-12)
    assert collapse_on_sphere.multiplier(PROBLEM, q) == pytest.approx(point.multiplier, rel=1e-11)


def test_the_shortfall_is_half_the_squared_norm_less_a_product_with_the_logits() -> None:
    points = PROBLEM.random_state(seed=1, replicas=5, scale=2.0).vector()
    state = unflat(PROBLEM, points)
    C = (torch.eye(4, dtype=torch.float64) - 0.25)[:, PROBLEM.labels] / math.sqrt(3)
    expected = points.square().sum(1) / 2 - (C * (state.W @ state.H)).sum((1, 2))
    torch.testing.assert_close(collapse_on_sphere.shortfall(PROBLEM, points), expected, atol=0, rtol=1e-12)
    collapse = ulpm.collapsed_state(PROBLEM, 3.0).vector()[None]
    assert float(collapse_on_sphere.shortfall(PROBLEM, collapse)[0]) < 1e-29


@pytest.mark.parametrize("q", [0.1, 2.0, 30.0])
def test_no_point_of_the_sphere_is_below_the_tangent_plane_at_collapse(q: float) -> None:
    points = on_sphere(PROBLEM.random_state(seed=2, replicas=200).vector(), collapse_on_sphere.norm(PROBLEM, q))
    excess = ulpm.log_loss(PROBLEM, unflat(PROBLEM, points)) - collapse_on_sphere.log_loss(PROBLEM, q)
    price = collapse_on_sphere.multiplier(PROBLEM, q) * collapse_on_sphere.shortfall(PROBLEM, points)
    assert bool((excess >= price.log1p()).all())


def test_the_bound_of_the_tangent_plane_is_attained_to_second_order_by_variation_within_a_class() -> None:
    q, generator = 5.0, torch.Generator().manual_seed(0)
    rho = collapse_on_sphere.norm(PROBLEM, q)
    state = ulpm.collapsed_state(PROBLEM, rho)
    # The last coordinates are free: this changes no logit.
    noise = torch.zeros_like(state.H)
    noise[4, :3] = 1e-3 * torch.randn(3, generator=generator, dtype=torch.float64)
    point = on_sphere(ulpm.State(state.W, state.H + noise).vector()[None], rho)
    excess = float(ulpm.log_loss(PROBLEM, unflat(PROBLEM, point))[0]) - collapse_on_sphere.log_loss(PROBLEM, q)
    price = collapse_on_sphere.multiplier(PROBLEM, q) * float(collapse_on_sphere.shortfall(PROBLEM, point)[0])
    assert excess == pytest.approx(math.log1p(price), rel=1e-5)


@pytest.mark.parametrize("K", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("q", [0.01, 0.7, 1.9, 6.0, 50.0])
def test_the_least_curvature_but_for_rotations_is_that_of_the_dense_hessian(K: int, q: float) -> None:
    problem = ulpm.Problem([2] * K, K + 1)
    collapse = ulpm.collapsed_state(problem, collapse_on_sphere.norm(problem, q))
    values = landscape(problem, collapse.vector()[None]).values[0]
    least = float(values[values > 1e-9].min())
    closed = collapse_on_sphere.least_curvature(problem, q)
    if K == 3 and 2 * q < K:
        assert closed < least < 1.5 * closed
    else:
        assert least == pytest.approx(closed, rel=1e-9)
