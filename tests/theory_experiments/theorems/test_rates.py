"""The constants and exponents hold at QUICK size, and wrong ones fail, as they must."""

from pathlib import Path

import pytest
from quick_runs import check_quick_run


@pytest.mark.usefixtures("unchecked")  # they cost several times what the experiment itself does
def test_the_quick_claims_hold_and_negative_controls_fail(tmp_path: Path) -> None:
    failing = {
        "v* = K√n is claimed, the value of the suboptimal KKT points": "distance of ρ²/log t from 2v*",
        "v* = (K−1)n is claimed": "distance of L·t·log t from v*/2",
        "d = 2 < K − 1: too small for collapse": "distance of ρ²/log t from 2v*",
        "a start with Σ_k w_k = 0 is treated as generic": "exponent of `nc2_angle_classifier`",
        "the power 1/log t is claimed for all, raw rows and distances included": "exponent of `nc1_distance`",
    }
    check_quick_run("rates", tmp_path, failing)
