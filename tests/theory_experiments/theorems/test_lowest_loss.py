"""At QUICK size no direction is below collapse, and wrong candidates for the lowest direction fail."""

from pathlib import Path

import pytest
import torch
from quick_runs import check_quick_run

import ulpm
from theory_experiments.theorems.lowest_loss import QUICK
from theory_experiments.theorems.lowest_loss.measurement import claimed


@pytest.mark.usefixtures("unchecked")
def test_the_quick_claims_hold_and_negative_controls_fail(tmp_path: Path) -> None:
    failing = {
        "the class counts are unequal": "at the ends of searches on the sphere",
        "an orthogonal frame is called collapse": "(log L − log L_NC)/(1 + q): least over",
        "W is twice as long as H": "(log L − log L_NC)/(1 + q): least over",
        "d = K − 2, one dimension too few": "at the ends of searches on the sphere",
        "the bound is claimed with 2D": "log(1 + μD/L_NC) minus",
    }
    check_quick_run("lowest_loss", tmp_path, failing)


@pytest.mark.parametrize(("counts", "d"), [([4, 4], 1), ([3] * 3, 2), ([5] * 4, 8)])
def test_the_direction_claimed_is_the_collapsed_state_of_the_package(counts: list[int], d: int) -> None:
    problem = ulpm.Problem(counts, d)
    torch.testing.assert_close(claimed(QUICK, problem), ulpm.collapsed_state(problem).vector(), atol=1e-15, rtol=0)
