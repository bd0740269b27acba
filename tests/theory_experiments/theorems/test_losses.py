"""The losses behave as their tails say at QUICK size, and wrong constants, ends and laws are detected."""

from pathlib import Path

import pytest
from quick_runs import check_quick_run


@pytest.mark.usefixtures("unchecked")  # they cost several times what the experiment itself does
def test_the_quick_claims_hold_and_negative_controls_fail(tmp_path: Path) -> None:
    failing = {
        "focal loss of γ = 2 is taken to have κ = 1": "relative distance of L·t·log t from v*/(2κ)",
        "v* is K√n": "relative distance of L·t·log t from v*/(2κ)",
        "smoothed labels are taken to have the margin log(1 + (1 − α)/α)": "distance of any centred logit",
        "squared error is taken to end at a simplex": "distance of any logit from the label",
        "the distance from the end is taken for a power of t": "what a straight line against log t leaves",
    }
    check_quick_run("losses", tmp_path, failing)
