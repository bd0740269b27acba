"""Flows end on the right side of the line at QUICK size, and wrong lines are detected."""

from pathlib import Path

import pytest
from quick_runs import check_quick_run


@pytest.mark.usefixtures("unchecked")  # they cost several times what the experiment itself does
def test_the_quick_claims_hold_and_negative_controls_fail(tmp_path: Path) -> None:
    failing = {
        "the line K√(λ_Wλ_H) = 1 is claimed, without n": "Flows on the wrong side of the line",
        "the line 2Kc = 1 is claimed": "Flows on the wrong side of the line",
    }
    check_quick_run("phase_diagram", tmp_path, failing)
