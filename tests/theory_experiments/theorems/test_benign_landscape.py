"""At QUICK size every critical point with d ≥ K is a minimum or a saddle, and wrong claims fail, as they must."""

from pathlib import Path

import pytest
from quick_runs import check_quick_run


@pytest.mark.usefixtures("unchecked")
def test_the_quick_claims_hold_and_negative_controls_fail(tmp_path: Path) -> None:
    failing = {
        "d = 2 for four classes": "neither global minima nor strict saddles",
        "the curvature μ − ½‖R‖_op is claimed": "Least curvature of the dense Hessian",
        "points are displaced by 1e-3": "Block points that are not strict saddles",
    }
    check_quick_run("benign_landscape", tmp_path, failing)
