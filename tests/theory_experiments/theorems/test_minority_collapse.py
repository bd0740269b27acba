"""Minorities collapse where they should at QUICK size, and wrong claims about it are found out."""

from pathlib import Path

import pytest
from quick_runs import check_quick_run


@pytest.mark.usefixtures("unchecked")  # they cost several times what the experiment itself does
def test_the_quick_claims_hold_and_falsified_variants_fail(tmp_path: Path) -> None:
    failing = {
        "twice the threshold is claimed": "at which the minority classifiers are one",
        "at R = 1 the cosine of K_B classes is claimed, not of K": "distance of the minority cosines from −1/(K_B − 1)",
        "the norms are not constrained": "(a) norms constrained: cosine of two minority classifiers at R = 1000",
        "d = 4 features, fewer than the optimum's rank": "value at which descent over all W and single features",
    }
    check_quick_run("minority_collapse", tmp_path, failing)
