"""The search goes down, stays on its sphere and ends at critical points; distances forget rotations."""

import math

import pytest
import torch

import ulpm
from theory_experiments.numerics.critical_points import landscape, on_sphere
from theory_experiments.numerics.sphere_search import descend_on_sphere, distance_to
from theory_experiments.numerics.vectors import unflat

PROBLEM = ulpm.Problem([2] * 3, 3)


def starts(rho: float) -> torch.Tensor:
    return on_sphere(PROBLEM.random_state(seed=0, replicas=6).vector(), rho)


@pytest.mark.parametrize("rho", [1.0, 6.0, 40.0])
def test_the_search_stays_on_the_sphere_and_goes_down(rho: float) -> None:
    values, points = descend_on_sphere(PROBLEM, starts(rho), iterations=50)
    torch.testing.assert_close(points.norm(dim=1), torch.full((6,), rho, dtype=torch.float64), rtol=1e-13, atol=0)
    torch.testing.assert_close(values, ulpm.log_loss(PROBLEM, unflat(PROBLEM, points)), rtol=1e-12, atol=1e-12)
    assert bool((values < ulpm.log_loss(PROBLEM, unflat(PROBLEM, starts(rho)))).all())


def test_the_search_ends_at_global_minima() -> None:
    values, points = descend_on_sphere(PROBLEM, starts(6.0), iterations=400)
    assert float(landscape(PROBLEM, points).share.max()) < 1e-6
    optimum = ulpm.log_loss(PROBLEM, ulpm.collapsed_state(PROBLEM, 6.0))
    torch.testing.assert_close(values, optimum.expand(6), atol=1e-10, rtol=0)


def test_the_search_stays_at_a_saddle_that_it_starts_on() -> None:
    problem = ulpm.Problem([1] * 4, 4)
    block = ulpm.block_state(problem, 2, 5.0).vector()[None]
    values, points = descend_on_sphere(problem, block, iterations=5)
    torch.testing.assert_close(points, block, atol=1e-9, rtol=0)
    assert float(values[0]) == pytest.approx(float(ulpm.log_loss(problem, unflat(problem, block))[0]), abs=1e-12)


def test_the_distance_to_a_rotated_or_reflected_copy_is_zero() -> None:
    point = starts(2.0)[0]
    state = unflat(PROBLEM, point)
    Q = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).Q
    mirror = torch.diag(torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64))
    for turn in (Q, Q @ mirror):
        copy = ulpm.State(state.W @ turn, turn.T @ state.H).vector()[None]
        assert float(distance_to(PROBLEM, point, copy)[0]) < 1e-14


def test_the_distance_is_the_least_over_a_fine_grid_of_rotations_and_reflections() -> None:
    problem = ulpm.Problem([2] * 3, 2)
    one, other = problem.random_state(seed=3, replicas=2).vector()
    state = unflat(problem, one)
    angles = torch.linspace(0, 2 * math.pi, 20001, dtype=torch.float64)
    c, s = angles.cos(), angles.sin()
    rotations = torch.stack([torch.stack([c, -s], 1), torch.stack([s, c], 1)], 1)
    grid = torch.cat([rotations, rotations @ torch.tensor([[1.0, 0.0], [0.0, -1.0]], dtype=torch.float64)])
    copies = ulpm.State(state.W @ grid, grid.mT @ state.H).vector()
    least = float((copies - other).norm(dim=1).min())
    assert float(distance_to(problem, one, other[None])[0]) == pytest.approx(least, rel=1e-6)
