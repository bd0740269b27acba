"""A claim holds exactly when the measured number keeps to its bound."""

import json
import math

import pytest

from theory_experiments.harness.claim import Claim


def claim(measured: float, comparator: str, bound: float = 1.0) -> Claim:
    return Claim("The largest of something over 3 starts.", measured, comparator, bound, "by the tolerance")


@pytest.mark.parametrize(
    ("measured", "comparator", "holds"),
    [
        (0.9, "<=", True),
        (1.0, "<=", True),
        (1.1, "<=", False),
        (0.9, ">=", False),
        (1.0, ">=", True),
        (-math.inf, "<=", True),
        (math.inf, "<=", False),
        (math.nan, "<=", False),
        (math.nan, ">=", False),
    ],
)
def test_a_claim_holds_when_its_bound_is_kept_and_never_for_nan(measured: float, comparator: str, holds: bool) -> None:
    assert claim(measured, comparator).holds is holds


@pytest.mark.parametrize("measured", [0.1 + 0.2, math.inf, -math.inf, math.nan])
def test_a_claim_comes_back_from_json_as_it_went(measured: float) -> None:
    before = claim(measured, "<=")
    entry = json.loads(json.dumps({"experiment": "rates", **before.to_json()}, allow_nan=False))
    after = Claim.from_json(entry)
    assert repr(after) == repr(before)  # nan ≠ nan
    assert entry["holds"] is before.holds


@pytest.mark.parametrize(("comparator", "bound", "words"), [("<", 1.0, "compares by"), ("<=", math.nan, "finite")])
def test_a_claim_that_cannot_be_judged_is_refused(comparator: str, bound: float, words: str, unchecked: None) -> None:
    with pytest.raises(ValueError, match=words):
        claim(0.0, comparator, bound)


def test_a_claim_without_a_reason_is_refused() -> None:
    with pytest.raises(ValueError, match="reason"):
        Claim("Something.", 0.0, "<=", 1.0, " ")
