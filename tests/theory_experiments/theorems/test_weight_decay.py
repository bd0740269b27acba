"""Decayed flows end and depart where theory says at QUICK size, and wrong ends and laws are detected."""

from pathlib import Path

import pytest
from quick_runs import check_quick_run


@pytest.mark.usefixtures("unchecked")  # they cost several times what the experiment itself does
def test_the_quick_claims_hold_and_negative_controls_fail(tmp_path: Path) -> None:
    failing = {
        "c = √(λ_Wλ_H) is claimed, without n": "error of any centred logit at the end",
        "departure at t ∝ λ^(−1/2) is claimed": "slope of log t at departure",
        "a simplex is claimed as the limit of the direction for unequal counts": "distance of W Wᵀ from that",
        "rare classes are claimed to merge at twice the threshold": "classifiers of two rare classes merged below",
    }
    check_quick_run("weight_decay", tmp_path, failing)
