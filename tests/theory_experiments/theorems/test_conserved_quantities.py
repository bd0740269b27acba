"""The flow conserves both quantities at QUICK size, and the negative controls fail, as they must."""

from pathlib import Path

import pytest
from quick_runs import check_quick_run


@pytest.mark.usefixtures("unchecked")  # they cost several times what the experiment itself does
def test_the_quick_claims_hold_and_negative_controls_fail(tmp_path: Path) -> None:
    failing = {
        "weight decay 0.001 is added to the flow": "Change of Σ_k w_k relative to its norm in the plain flow",
        "the flow is replaced by steps of gradient descent of size 0.05": "Change of WᵀW − HHᵀ relative to its norm",
    }
    check_quick_run("conserved_quantities", tmp_path, failing)
