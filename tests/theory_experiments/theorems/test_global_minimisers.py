"""The optimum is (K − 1)√n at QUICK size, and other constants, dimensions and counts fail, as they must."""

from pathlib import Path

import pytest
from quick_runs import check_quick_run


@pytest.mark.usefixtures("unchecked")
def test_the_quick_claims_hold_and_negative_controls_fail(tmp_path: Path) -> None:
    failing = {
        "the constant K√n is claimed": "Value of the convex relaxation",
        "d = K − 2, one dimension too few": "Metrics of neural collapse of the optimal factors",
        "the counts are unequal": "Distance by which (K − 1)√n lies outside the bounds",
    }
    check_quick_run("global_minimisers", tmp_path, failing)
