"""The losses follow their tails at QUICK size, and wrong constants, ends and laws fail, as they must."""

from pathlib import Path

import pytest
from quick_runs import check_quick_run


@pytest.mark.usefixtures("unchecked")  # they cost several times what the experiment itself does
def test_the_quick_claims_hold_and_negative_controls_fail(tmp_path: Path) -> None:
    failing = {
        "κ = 1 is claimed for focal loss of γ = 2": "relative distance of L·t·log t from v*/(2κ)",
        "v* = K√n is claimed": "relative distance of L·t·log t from v*/(2κ)",
        "the margin log(1 + (1 − α)/α) is claimed for smoothed labels": "distance of any centred logit",
        "a simplex is claimed as the end of squared error": "distance of any logit from the label",
        "the distance from the end is claimed to be a power of t": "residual of a straight line against log t",
    }
    check_quick_run("losses", tmp_path, failing)
