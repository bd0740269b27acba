"""The dense landscape is that of automatic differentiation, and the search ends at critical points of the sphere."""

import math

import pytest
import torch
from torch import Tensor

import ulpm
from theory_experiments.numerics.critical_points import critical_points, landscape, on_sphere
from theory_experiments.numerics.vectors import unflat

PROBLEM = ulpm.Problem([2, 1, 2], 3)


def plain_log_loss(point: Tensor) -> Tensor:
    state = unflat(PROBLEM, point)
    return torch.nn.functional.cross_entropy((state.W @ state.H).T, PROBLEM.labels, reduction="sum").log()


@pytest.mark.parametrize("norm", [0.5, 3.0, 6.0])
def test_force_and_curvatures_are_those_of_automatic_differentiation(norm: float) -> None:
    points = on_sphere(PROBLEM.random_state(seed=0, replicas=3).vector(), norm)
    seen = landscape(PROBLEM, points)
    for i, point in enumerate(points):
        gradient = torch.autograd.functional.jacobian(plain_log_loss, point)
        hessian = torch.autograd.functional.hessian(plain_log_loss, point)
        normal = point / norm
        m = -float(gradient @ normal) / norm
        projection = torch.eye(len(point), dtype=point.dtype) - torch.outer(normal, normal)
        curvature = projection @ (hessian + m * torch.eye(len(point), dtype=point.dtype)) @ projection
        assert float(seen.log_loss[i]) == pytest.approx(float(plain_log_loss(point)), abs=1e-13)
        assert float(seen.multiplier[i]) == pytest.approx(m, abs=1e-13)
        torch.testing.assert_close(seen.force[i], -gradient - m * point, atol=1e-12, rtol=0)
        torch.testing.assert_close(seen.values[i], torch.linalg.eigvalsh(curvature), atol=1e-11, rtol=0)


@pytest.mark.parametrize("norm", [3.0, 30.0])
def test_at_a_block_point_of_any_loss_the_curvature_is_the_closed_form(norm: float) -> None:
    problem = ulpm.Problem([1] * 4, 5)
    seen = landscape(problem, ulpm.block_state(problem, 2, norm).vector()[None])
    expected = ulpm.sphere_critical_point(problem, ulpm.block_state(problem, 2, norm))
    assert float(seen.least_curvature[0]) == pytest.approx(expected.min_curvature, rel=1e-9)
    assert float(seen.operator_norm[0]) == pytest.approx(expected.operator_norm, rel=1e-9)
    assert float(seen.share[0]) < 1e-12


def test_the_search_stays_on_the_sphere_and_ends_at_points_that_the_package_calls_critical() -> None:
    problem = ulpm.Problem([1] * 3, 3)
    starts = on_sphere(problem.random_state(seed=0, replicas=8).vector(), 5.0)
    ends = critical_points(problem, starts, 50)
    torch.testing.assert_close(ends.norm(dim=1), torch.full((8,), 5.0, dtype=torch.float64))
    before, after = landscape(problem, starts), landscape(problem, ends)
    assert bool((after.force.norm(dim=1) <= before.force.norm(dim=1)).all())
    found = [ulpm.sphere_critical_point(problem, unflat(problem, end)).kind for end in ends[after.share < 1e-9]]
    assert len(found) >= 4
    assert "not_critical" not in found


def test_a_saddle_attracts_the_search() -> None:
    problem = ulpm.Problem([1] * 4, 4)
    saddle = ulpm.block_state(problem, 2, 5.0).vector()
    noise = problem.random_state(seed=1).vector()
    end = critical_points(problem, on_sphere(saddle + 0.02 * noise, 5.0)[None], 30)[0]
    assert float(landscape(problem, end[None]).share[0]) < 1e-12
    point = ulpm.sphere_critical_point(problem, unflat(problem, end))
    assert point.kind == "strict_saddle"
    assert float(ulpm.log_loss(problem, unflat(problem, end))) == pytest.approx(
        float(ulpm.log_loss(problem, unflat(problem, saddle))), abs=1e-12
    )
    assert math.isclose(float(end.norm()), 5.0)
