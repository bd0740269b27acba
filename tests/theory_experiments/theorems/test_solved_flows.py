"""The solved flows are followed at QUICK size, and wrong closed forms, starts and functions fail, as they must."""

from pathlib import Path

import pytest
from quick_runs import check_quick_run


@pytest.mark.usefixtures("unchecked")  # they cost several times what the experiment itself does
def test_the_quick_claims_hold_and_negative_controls_fail(tmp_path: Path) -> None:
    failing = {
        "the closed form has K√n in place of 2K√n": "relative error of q at rtol",
        "the start is 1% away from the ray": "relative error of log L at rtol",
        "the singular vectors are not characters": "other singular vectors",
        "the start is not balanced: a = 2√n b": "relative error of σ against the solution of its own equation",
        "log(max σ/min σ) is claimed as a Lyapunov function": "largest increase of log(max σ/min σ)",
        "κ = 1 is claimed for focal loss of γ = 2": "Constants of focal loss of γ = 2",
    }
    check_quick_run("solved_flows", tmp_path, failing)
