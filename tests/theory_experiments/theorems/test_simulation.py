"""The simulated flow collapses at QUICK size, and the negative controls fail, as they must."""

from pathlib import Path

import pytest
from quick_runs import check_quick_run


@pytest.mark.usefixtures("unchecked")  # they cost several times what the experiment itself does
def test_the_quick_claims_hold_and_negative_controls_fail(tmp_path: Path) -> None:
    failing = {
        "the counts are unequal": "`nc2_norm_means` ((a) variation of norms) at",
        "d = 2 < K − 1: a simplex does not fit": "`nc2_angle_means` ((c) angles) at",
        "the guide 1/log t is claimed as the law of all four panels": "`nc1_distance` ((b) within-class variation)",
    }
    check_quick_run("simulation", tmp_path, failing)
