"""The families hold separating directions of norm 1, and are what their names say."""

import pytest
import torch

import ulpm
from theory_experiments.harness.work import Work
from theory_experiments.numerics.direction_families import separating_directions
from theory_experiments.numerics.vectors import unflat

pytestmark = pytest.mark.usefixtures("unchecked_module")

PROBLEM = ulpm.Problem([2] * 4, 5)
COLLAPSE = ulpm.collapsed_state(PROBLEM).vector()


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
