"""A QUICK run of one experiment from the command line, for the tests of each experiment."""

import json
from collections.abc import Mapping
from pathlib import Path

from theory_experiments.__main__ import main


def check_quick_run(name: str, out: Path, failing: Mapping[str, str]) -> None:
    """The QUICK claims hold, and each negative control fails in a claim whose statement has the given words.

    ``failing`` maps the name of each negative control to these words.
    """
    status = main([name, "--quick", "--out", str(out), "--json", str(out / "run.json")])
    document = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert [claim["statement"] for claim in document["claims"] if not claim["holds"]] == []
    assert document["claims"]
    assert {claim["experiment"] for claim in document["claims"]} == {name}
    failed: dict[str, list[str]] = {entry["variant"]: [] for entry in document["negative_controls"]}
    for entry in document["negative_controls"]:
        if not entry["holds"]:
            failed[entry["variant"]].append(entry["statement"])
    assert set(failed) == set(failing)
    assert failing
    for variant, words in failing.items():
        assert any(words in statement for statement in failed[variant]), (variant, failed[variant])
    assert status == 0
    assert (out / f"{name}.png").stat().st_size > 10_000
