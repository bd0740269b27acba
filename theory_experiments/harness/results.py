"""What a run of the experiments leaves: claims, negative controls and circumstances, as one JSON document.

    {"claims": [{experiment, statement, measured, comparator, bound, reason, holds}, …],
     "negative_controls": [{experiment, variant, the same six}, …],
     "experiments": {name: {settings, config, negative_control_configs, command, hardware, versions}, …}}

Every experiment has its own entries, so that running one again replaces only these.
"""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from theory_experiments.harness.claim import Claim
from ulpm.support import files

__all__ = ["CLAIMS", "Outcome", "read", "write"]

CLAIMS = "claims.json"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One experiment: the claims about the theorem, and those under each negative control.

    ``facts`` are the circumstances: "settings" (FULL or QUICK), "config" and "negative_control_configs" (all knobs),
    "command", "hardware", "versions".
    """

    name: str
    claims: tuple[Claim, ...]
    negative_controls: Mapping[str, tuple[Claim, ...]]
    facts: Mapping[str, Any]

    @property
    def failing(self) -> list[Claim]:
        """The claims that do not hold."""
        return [claim for claim in self.claims if not claim.holds]

    @property
    def undetected(self) -> list[str]:
        """Negative controls under which all claims hold: the claims did not detect the change."""
        return [variant for variant, claims in self.negative_controls.items() if all(claim.holds for claim in claims)]

    @property
    def passes(self) -> bool:
        """Whether every claim holds and every negative control fails."""
        return bool(self.claims) and not self.failing and not self.undetected


def to_json(outcomes: Iterable[Outcome]) -> dict[str, Any]:
    """The document."""
    outcomes = list(outcomes)
    return {
        "claims": [{"experiment": each.name, **claim.to_json()} for each in outcomes for claim in each.claims],
        "negative_controls": [
            {"experiment": each.name, "variant": variant, **claim.to_json()}
            for each in outcomes
            for variant, claims in each.negative_controls.items()
            for claim in claims
        ],
        "experiments": {each.name: dict(each.facts) for each in outcomes},
    }


def write(path: Path, outcomes: Iterable[Outcome]) -> None:
    """Replace ``path`` by the document. Raises: OSError with one sentence if it cannot be written."""
    files.write_text(path, json.dumps(to_json(outcomes), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read(path: Path) -> dict[str, Outcome]:
    """The outcomes by name in a document that ``write`` wrote; none if there is no file.

    Raises: OSError with one sentence if it cannot be read or is something else.
    """
    if not path.exists():
        return {}
    try:
        document = json.loads(files.read_text(path))
        return {name: _outcome(name, facts, document) for name, facts in document["experiments"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OSError(f"{path} is damaged or holds something else than claims: remove it and run again.") from error


def _outcome(name: str, facts: Mapping[str, Any], document: Mapping[str, Any]) -> Outcome:
    controls: dict[str, list[Claim]] = {}
    for entry in document["negative_controls"]:
        if entry["experiment"] == name:
            controls.setdefault(entry["variant"], []).append(Claim.from_json(entry))
    return Outcome(
        name,
        tuple(Claim.from_json(entry) for entry in document["claims"] if entry["experiment"] == name),
        {variant: tuple(claims) for variant, claims in controls.items()},
        facts,
    )
