"""Smoothed labels end at their margin and rate at QUICK size, and wrong ones are detected."""

from pathlib import Path

import pytest
from quick_runs import check_quick_run


@pytest.mark.usefixtures("unchecked")  # they cost several times what the experiment itself does
def test_the_quick_claims_hold_and_negative_controls_fail(tmp_path: Path) -> None:
    failing = {
        "the end is claimed to be zero only for Kc ≥ 1, with the margin of plain labels": "error of any centred logit",
        "the label α is claimed for each wrong class, not α/K": "Without decay: distance of any centred logit",
        "the rate √n qα is claimed": "Rate at which the logits approach their end",
    }
    check_quick_run("label_smoothing", tmp_path, failing)
