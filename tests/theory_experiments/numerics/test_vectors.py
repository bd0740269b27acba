"""States and their vectors contain the same numbers in the same order."""

import pytest
import torch

import ulpm
from theory_experiments.numerics.vectors import kept, unflat

PROBLEM = ulpm.Problem([2, 1, 3], 4)


@pytest.mark.parametrize("replicas", [None, 3])
def test_a_state_survives_the_way_to_vectors_and_back(replicas: int | None) -> None:
    state = PROBLEM.random_state(seed=0, replicas=replicas)
    points = state.vector()
    assert points.shape == (*state.batch_shape, 3 * 4 + 4 * 6)
    back = unflat(PROBLEM, points)
    assert torch.equal(back.W, state.W)
    assert torch.equal(back.H, state.H)


def test_norms_agree() -> None:
    state = PROBLEM.random_state(seed=0, replicas=3)
    torch.testing.assert_close(state.vector().square().sum(1), state.squared_norm)


def test_snapshots_are_kept_in_order_and_missing_ones_are_an_error() -> None:
    start = PROBLEM.random_state(seed=0)
    path = ulpm.gradient_flow(PROBLEM, start, log_time=1.0, records=3, snapshots=3)
    assert torch.equal(kept(path)[0], start.vector())
    assert torch.equal(kept(path)[-1], path.final_state.vector())
    with pytest.raises(ValueError, match="no snapshots"):
        kept(ulpm.gradient_flow(PROBLEM, start, log_time=1.0, records=3))
