"""The flow with unequal counts ends as predicted at QUICK size, and predictions for equal counts fail, as they must."""

from pathlib import Path

import pytest
from quick_runs import check_quick_run


@pytest.mark.usefixtures("unchecked")  # they cost several times what the experiment itself does
def test_the_quick_claims_hold_and_negative_controls_fail(tmp_path: Path) -> None:
    failing = {
        "the classifier is claimed to be an ETF": "Distance of the direction of W Wᵀ",
        "the value of equal counts, (K − 1)√(N/K), is claimed": "Value of the relaxation at 1:4",
        "the exponent of equal counts, −3, is claimed": "Exponent of nc1_pinv",
        "d = 2 features, fewer than K − 1": "Distance of the class-mean logits' direction",
    }
    check_quick_run("imbalance", tmp_path, failing)
