"""Directions separate the samples, have norm 1, and lie at the requested distance."""

import pytest
import torch

import ulpm
from theory_experiments.numerics.directions import (
    block_directions,
    log_loss_at,
    near,
    separating,
    unit,
)
from theory_experiments.numerics.vectors import unflat

PROBLEM = ulpm.Problem([2] * 4, 5)
COLLAPSE = ulpm.collapsed_state(PROBLEM).vector()


def test_points_that_misclassify_a_sample_are_dropped() -> None:
    points = torch.stack([COLLAPSE, -COLLAPSE, 7 * COLLAPSE, PROBLEM.random_state(seed=0).vector()])
    state = unflat(PROBLEM, points)
    points[1] = ulpm.State(-state.W[0], state.H[0]).vector()
    kept = separating(PROBLEM, points)
    torch.testing.assert_close(kept, torch.stack([COLLAPSE, COLLAPSE]))


@pytest.mark.parametrize(("K", "d", "number"), [(4, 3, 1), (6, 5, 2), (6, 3, 1), (5, 5, 0), (4, 1, 0)])
def test_block_points_are_those_of_all_sizes_that_fit(K: int, d: int, number: int) -> None:
    assert len(block_directions(ulpm.Problem([1] * K, d))) == number


def test_points_near_another_are_as_near_as_asked() -> None:
    sizes = torch.tensor([0.0, 1e-6, 1e-2], dtype=torch.float64)
    points = near(COLLAPSE, sizes, torch.Generator().manual_seed(0))
    distances = (points - COLLAPSE).norm(dim=1)
    assert float(distances[0]) < 1e-15
    torch.testing.assert_close(distances[1:], sizes[1:], rtol=0.5, atol=0)


def test_a_direction_is_scaled_before_its_loss_is_taken() -> None:
    state = ulpm.collapsed_state(PROBLEM, 30.0)
    expected = ulpm.log_loss(PROBLEM, state)
    torch.testing.assert_close(log_loss_at(PROBLEM, unit(state.vector())[None], 30.0)[0], expected)
