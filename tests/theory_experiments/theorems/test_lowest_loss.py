"""At QUICK size no direction is below collapse, and wrong candidates for the lowest direction fail."""

from pathlib import Path

import pytest
import torch
from quick_runs import check_quick_run

import ulpm
from theory_experiments.theorems.lowest_loss import QUICK
from theory_experiments.theorems.lowest_loss.measurement import claimed


@pytest.mark.usefixtures("unchecked")
def test_the_quick_claims_hold_and_falsified_variants_fail(tmp_path: Path) -> None:
    failing = {
        "unequal class counts": "where searches on the sphere end",
        "an orthogonal frame called collapse": "log L less log L_NC, over 1 + q: least over",
        "W twice as long as H": "log L less log L_NC, over 1 + q: least over",
        "d = K − 2, one dimension too few": "where searches on the sphere end",
        "the bound with 2D": "log(1 + μD/L_NC) less",
    }
    check_quick_run("lowest_loss", tmp_path, failing)


@pytest.mark.parametrize(("counts", "d"), [([4, 4], 1), ([3] * 3, 2), ([5] * 4, 8)])
def test_the_direction_claimed_is_the_collapsed_state_of_the_package(counts: list[int], d: int) -> None:
    problem = ulpm.Problem(counts, d)
    torch.testing.assert_close(claimed(QUICK, problem), ulpm.collapsed_state(problem).vector(), atol=1e-15, rtol=0)
