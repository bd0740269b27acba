"""At QUICK size ends are minima of the least value or saddles, and early ends and a wrong rate fail, as they must."""

from pathlib import Path

import pytest
from quick_runs import check_quick_run


@pytest.mark.usefixtures("unchecked")
def test_the_quick_claims_hold_and_negative_controls_fail(tmp_path: Path) -> None:
    failing = {
        "flows end at log t = 10": "Share of ends that the second-order test decides",
        "flows leave a saddle like (log t)^κ": "Exponent in ρ² ~ log t of the departure",
    }
    check_quick_run("narrow_features", tmp_path, failing)
