"""KKT points of known kind are found and get the right name."""

import math

import pytest
import torch

import ulpm
from theory_experiments.numerics.kkt_points import _independent, classify
from theory_experiments.numerics.vectors import unflat


def displaced(problem: ulpm.Problem, state: ulpm.State, size: float) -> ulpm.State:
    """Moved by noise that is small beside 1/q, as late states are near their KKT points."""
    noise = problem.random_state(seed=3, scale=size)
    return ulpm.State(state.W + noise.W, state.H + noise.H)


@pytest.mark.parametrize(("K", "n"), [(3, 1), (4, 1), (4, 2)])
def test_neural_collapse_in_the_least_dimension_is_a_strict_minimum_of_the_known_value(K: int, n: int) -> None:
    problem = ulpm.Problem([n] * K, K - 1)
    ending = classify(problem, displaced(problem, ulpm.collapsed_state(problem, 100.0), 1e-3))
    assert ending.kind == "minimum"
    assert ending.value == pytest.approx((K - 1) * math.sqrt(n), rel=1e-12)
    assert ending.residual < 1e-12


@pytest.mark.parametrize(("K", "b"), [(4, 2), (6, 3)])
def test_a_block_point_with_room_is_a_saddle_of_the_known_curvature(K: int, b: int) -> None:
    """1 − ‖G(λ)‖_op with λ = 1/(K − b) between blocks: −b/(K − b)."""
    problem = ulpm.Problem([1] * K, K)
    ending = classify(problem, displaced(problem, ulpm.block_state(problem, b, 100.0), 1e-3))
    assert ending.kind == "saddle"
    assert ending.value == pytest.approx(K, rel=1e-12)
    assert ending.curvature == pytest.approx(-b / (K - b), rel=1e-9)


def test_a_block_point_without_room_is_a_strict_minimum() -> None:
    problem = ulpm.Problem([1] * 4, 2)
    assert classify(problem, ulpm.block_state(problem, 2, 100.0)).kind == "minimum"


def test_along_the_direction_of_a_saddle_less_norm_separates_as_well() -> None:
    problem = ulpm.Problem([1] * 4, 3)
    ending = classify(problem, ulpm.block_state(problem, 2, 100.0))
    assert ending.kind == "saddle"
    for step in (0.05, -0.05):
        moved = unflat(problem, ending.point + step * ending.direction)
        value = float(moved.squared_norm / 2 / ulpm.margin(problem, moved))
        # By ½·curvature·step² to leading order, if the point is moved along the active margins.
        assert value < ending.value


def test_an_early_state_is_near_no_kkt_point_that_could_be_called_a_minimum() -> None:
    problem = ulpm.Problem([1] * 5, 3)
    path = ulpm.gradient_flow(problem, problem.random_state(seed=0), log_time=5.0, records=2)
    assert classify(problem, path.final_state).kind in ("unresolved", "undecided")


def test_a_point_that_does_not_separate_is_unresolved() -> None:
    problem = ulpm.Problem([1] * 4, 3)
    state = ulpm.block_state(problem, 2, 10.0)
    assert classify(problem, ulpm.State(-state.W, state.H)).kind == "unresolved"


def test_a_block_point_whose_active_margins_depend_on_each_other_is_undecided() -> None:
    """6 classes in 3 blocks of 2 with a dimension to spare: 24 active margins, whose gradients span 21 dimensions."""
    problem = ulpm.Problem([1] * 6, 4)
    assert classify(problem, ulpm.block_state(problem, 2, 100.0)).kind == "undecided"


def test_rows_that_a_point_off_by_1e_4_would_make_independent_are_not_called_so() -> None:
    rows = torch.eye(3, 5, dtype=torch.float64)
    assert _independent(rows)
    dependent = torch.cat([rows, rows[:1] + rows[1:2]])
    assert not _independent(dependent)
    assert not _independent(dependent + 1e-4 * torch.ones(4, 5, dtype=torch.float64).tril())
