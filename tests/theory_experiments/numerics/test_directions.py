"""The families hold separating directions of norm 1, and are what their names say."""

import pytest
import torch

import ulpm
from theory_experiments.harness.work import Work
from theory_experiments.numerics.directions import (
    block_directions,
    log_loss_at,
    near,
    separating,
    separating_directions,
    unit,
)
from theory_experiments.numerics.vectors import flat, unflat

PROBLEM = ulpm.Problem([2] * 4, 5)
COLLAPSE = flat(ulpm.collapsed_state(PROBLEM))


@pytest.fixture(scope="module")
def families() -> dict[str, torch.Tensor]:
    return separating_directions(PROBLEM, COLLAPSE, starts=2, seed=0, device="cpu", work=Work(lambda said: None))


def test_every_member_of_every_family_separates_and_has_norm_1(families: dict[str, torch.Tensor]) -> None:
    assert len(families) == 9
    for name, points in families.items():
        assert len(points) >= 15, name
        assert float((points.norm(dim=1) - 1).abs().max()) < 1e-14
        assert float(ulpm.margin(PROBLEM, unflat(PROBLEM, points)).min()) > 0


def test_no_family_is_collapse_itself(families: dict[str, torch.Tensor]) -> None:
    for name, points in families.items():
        shares = ulpm.margin(PROBLEM, unflat(PROBLEM, points)) * 2 * PROBLEM.minimum_norm_value
        assert float(shares.median()) < 0.9999, name


def test_the_optimal_geometry_of_other_counts_has_equal_margins(families: dict[str, torch.Tensor]) -> None:
    state = unflat(PROBLEM, families["SELI of other counts"])
    Z = state.W @ state.H
    gaps = (Z.gather(1, PROBLEM.labels.expand(len(Z), 1, 8)) - Z).flatten(1)
    wrong = gaps[:, (torch.arange(4)[:, None] != PROBLEM.labels).flatten()]
    assert float((wrong / wrong.mean(1, keepdim=True) - 1).abs().max()) < 1e-10


def test_a_family_at_the_same_seed_is_the_same(families: dict[str, torch.Tensor]) -> None:
    again = separating_directions(PROBLEM, COLLAPSE, starts=2, seed=0, device="cpu", work=Work(lambda said: None))
    for name, points in families.items():
        assert torch.equal(points, again[name])


def test_points_that_misclassify_a_sample_are_dropped() -> None:
    points = torch.stack([COLLAPSE, -COLLAPSE, 7 * COLLAPSE, flat(PROBLEM.random_state(seed=0))])
    state = unflat(PROBLEM, points)
    points[1] = flat(ulpm.State(-state.W[0], state.H[0]))
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
    torch.testing.assert_close(log_loss_at(PROBLEM, unit(flat(state))[None], 30.0)[0], expected)
