"""Decayed flows end and depart where theory says at QUICK size, and wrong ends and laws are detected."""

from pathlib import Path

import pytest
from quick_runs import check_quick_run


@pytest.mark.usefixtures("unchecked")  # they cost several times what the experiment itself does
def test_the_quick_claims_hold_and_negative_controls_fail(tmp_path: Path) -> None:
    failing = {
        "c is √(λ_Wλ_H), without n": "error of any centred logit at the end",
        "the flow departs at t ∝ λ^(−1/2)": "slope of log t at departure",
        "the direction tends to a simplex for unequal counts": "the distance of W Wᵀ from that of a simplex",
        "rare classes merge at twice the threshold": "classifiers of two rare classes merged below",
    }
    check_quick_run("weight_decay", tmp_path, failing)
