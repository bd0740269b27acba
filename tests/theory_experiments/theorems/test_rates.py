"""The constants and exponents hold at QUICK size, and wrong ones are found out."""

from pathlib import Path

import pytest
from quick_runs import check_quick_run


@pytest.mark.usefixtures("unchecked")  # they cost several times what the experiment itself does
def test_the_quick_claims_hold_and_falsified_variants_fail(tmp_path: Path) -> None:
    failing = {
        "v* is K√n, the value of the suboptimal KKT points": "distance of ρ²/log t from 2v*",
        "v* is (K−1)n": "distance of L·t·log t from v*/2",
        "d = 2 < K − 1: too small for collapse": "distance of ρ²/log t from 2v*",
        "a start with Σ_k w_k = 0 is taken for a generic one": "exponent of `nc2_angle_classifier`",
        "all fall like 1/log t, raw rows and distances too": "exponent of `nc1_distance`",
    }
    check_quick_run("rates", tmp_path, failing)
