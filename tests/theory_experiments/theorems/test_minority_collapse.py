"""Minorities collapse where they should at QUICK size, and wrong claims about it fail, as they must."""

from pathlib import Path

import pytest
from quick_runs import check_quick_run


@pytest.mark.usefixtures("unchecked")  # they cost several times what the experiment itself does
def test_the_quick_claims_hold_and_negative_controls_fail(tmp_path: Path) -> None:
    failing = {
        "twice the threshold is claimed": "on the wrong side of the criterion",
        "the cosine of K_B classes, not of K, is claimed at R = 1": "distance of the minority cosines from −1/(K_B",
        "the norms are not constrained": "(a) norms constrained: cosine of two minority classifiers at R = 1000",
        "d = 4 features, fewer than the optimum's rank": "value at the end of descent over all W",
    }
    check_quick_run("minority_collapse", tmp_path, failing)
