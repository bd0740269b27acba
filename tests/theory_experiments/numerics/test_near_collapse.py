"""Near collapse the loss rises as its least curvature says, and a point that is not collapse is noticed."""

import pytest
import torch

import ulpm
from theory_experiments.harness.work import Work
from theory_experiments.numerics.near_collapse import Near, curvature, distance_share, perturb, search

PROBLEM = ulpm.Problem([2] * 4, 5)
COLLAPSE = ulpm.collapsed_state(PROBLEM).vector()


@pytest.mark.parametrize("q", [0.5, 20.0])
def test_the_hessian_has_the_zeros_of_rotations_and_the_least_curvature_of_the_closed_form(q: float) -> None:
    curved = curvature(PROBLEM, COLLAPSE, q)
    assert curved.surplus == 0
    assert curved.share == pytest.approx(1, rel=1e-9)
    assert abs(curved.certificate) < 1e-12
    assert float(curved.softest @ COLLAPSE) == pytest.approx(0, abs=1e-9)


def test_the_hessian_at_a_block_point_is_not_that_of_collapse() -> None:
    curved = curvature(PROBLEM, ulpm.block_state(PROBLEM, 2).vector(), 5.0)
    assert curved.certificate > 0.1
    assert curved.share < 0


def test_the_excess_is_the_second_order_along_the_softest_direction_and_more_along_others() -> None:
    random, softest = perturb(PROBLEM, COLLAPSE, 3.0, starts=4, seed=0, curved=curvature(PROBLEM, COLLAPSE, 3.0))
    assert (random.kind, softest.kind) == ("random", "softest")
    assert float((distance_share(softest) - 1).abs().max()) < 0.02
    assert float(distance_share(random).max()) < 1


def test_searches_end_at_collapse() -> None:
    ends = search(PROBLEM, COLLAPSE, 3.0, starts=4, seed=0, iterations=400, work=Work(lambda said: None))
    assert len(ends.excess) == 4 + 4 + 1
    assert float(ends.excess.abs().max()) < 1e-9
    assert float(ends.distance.max()) < 1e-4


def test_points_of_large_excess_do_not_count_and_rounding_is_not_divided_by() -> None:
    excess = torch.tensor([-1e-16, 1e-8, 1.0], dtype=torch.float64)
    distance = torch.tensor([1e-9, 1e-4, 0.5], dtype=torch.float64)
    shares = distance_share(Near("ends", 1.0, 1.0, excess, distance))
    torch.testing.assert_close(shares, torch.tensor([1e-9 / 2e-12**0.5, 1.0], dtype=torch.float64))
