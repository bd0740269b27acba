"""Smoothed labels end at their margin and rate at QUICK size, and wrong ones are detected."""

from pathlib import Path

import pytest
from quick_runs import check_quick_run


@pytest.mark.usefixtures("unchecked")  # they cost several times what the experiment itself does
def test_the_quick_claims_hold_and_negative_controls_fail(tmp_path: Path) -> None:
    failing = {
        "the end is zero only for Kc ≥ 1, and its margin that of plain labels": "error of any centred logit at the end",
        "each wrong class has the label α, not α/K": "Without decay: distance of any centred logit at the end",
        "the rate is √n qα": "Rate at which the logits come to their end",
    }
    check_quick_run("label_smoothing", tmp_path, failing)
