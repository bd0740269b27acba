"""The implicit bias holds at QUICK size, and a missing hypothesis fails."""

from pathlib import Path

import pytest
from quick_runs import check_quick_run


@pytest.mark.usefixtures("unchecked")  # they cost several times what the experiment itself does
def test_the_quick_claims_hold_and_negative_controls_fail(tmp_path: Path) -> None:
    failing = {
        "the smoothed margin has ρ⁴ in place of ρ²": "Change of the smoothed margin",
        "the hypothesis L < log 2 is dropped": "Change of the smoothed margin",
        "features are one-dimensional, so no run reaches L < log 2": "Share of runs that reach L < log 2",
        "weight decay 0.01 is added to the flow": "log(L·t) at the end",
    }
    check_quick_run("implicit_bias", tmp_path, failing)
