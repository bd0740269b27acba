"""Block points of any partition are KKT points, by an oracle too; perturbed or unstretched ones fail, as they must."""

import math
from pathlib import Path

import pytest
import torch
from quick_runs import check_quick_run
from torch import Tensor

import ulpm
from theory_experiments.numerics.vectors import unflat
from theory_experiments.theorems.suboptimal_kkt_points.config import Partition
from theory_experiments.theorems.suboptimal_kkt_points.points import kkt_residual, partition_state


@pytest.mark.usefixtures("unchecked")
def test_the_quick_claims_hold_and_negative_controls_fail(tmp_path: Path) -> None:
    failing = {
        "a block point is perturbed by 1e-3 of its norm": "KKT residuals",
        "blocks of unequal size lack the factors s_k": "KKT residuals",
    }
    check_quick_run("suboptimal_kkt_points", tmp_path, failing)


@pytest.mark.parametrize(("K", "b", "n"), [(4, 2, 3), (9, 3, 1)])
def test_with_equal_blocks_it_is_the_block_state_of_the_package(K: int, b: int, n: int) -> None:
    problem = ulpm.Problem([n] * K, K)
    own = partition_state(problem, ((b, n),) * (K // b))
    theirs = ulpm.block_state(problem, b, math.sqrt(float(own.squared_norm)))
    torch.testing.assert_close(own.W, theirs.W)
    torch.testing.assert_close(own.H, theirs.H)


@pytest.mark.parametrize("partition", [((2, 1), (3, 1)), ((2, 4), (3, 1))])
def test_stationarity_holds_by_automatic_differentiation_with_nonnegative_least_squares(partition: Partition) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    problem = ulpm.Problem([n for b, n in partition for _ in range(b)], 5)
    state = partition_state(problem, partition)
    scale = math.sqrt(float(ulpm.margin(problem, state)))
    point = ulpm.State(state.W / scale, state.H / scale).vector()

    def margins(x: Tensor) -> Tensor:
        moved = unflat(problem, x)
        Z = moved.W @ moved.H
        gaps = [Z[y, i] - Z[j, i] for i, y in enumerate(problem.labels) for j in range(5) if j != y]
        return torch.stack(gaps)

    q = margins(point)
    active = q < 1 + 1e-12
    assert float(q.min()) == pytest.approx(1, abs=1e-14)
    assert not bool(active.all())
    gradients = torch.autograd.functional.jacobian(margins, point)[active]
    assert optimize.nnls(gradients.T.numpy(), point.numpy())[1] < 1e-13
    assert kkt_residual(problem, partition, unflat(problem, point)) < 1e-14
    moved = point + 1e-4 * problem.random_state(seed=0).vector()
    assert kkt_residual(problem, partition, unflat(problem, moved)) > 1e-5
