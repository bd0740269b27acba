"""The page theorem → file → figure → verdict, from the results that are there."""

import os
from collections.abc import Mapping
from pathlib import Path

from theory_experiments import results
from theory_experiments.experiments import EXPERIMENTS, Experiment, name_of
from theory_experiments.report import REPORT, docstring_parts, table, verdict, write_report
from theory_experiments.results import CLAIMS, Outcome
from ulpm.support import files

__all__ = ["render", "rewrite"]

_HEAD = """# Theorems, and where each is verified

Written by `python -m theory_experiments --out {out} --theorems-page {page}`,
which computes nothing: verdicts are those of [claims.json]({claims}), and the [report]({report}) explains them bound by
bound. `python -m theory_experiments NAME --out {out}` runs an experiment again.
"""


def rewrite(page: Path, out: Path) -> None:
    """Write ``page``, and report.md in ``out``, from claims.json there.

    Raises: ValueError if there are no results, OSError if a file cannot be read or written.
    """
    outcomes = results.read(out / CLAIMS)
    if not outcomes:
        raise ValueError(f"there are no results in {out}: run the experiments with --out {out} first.")
    write_report(out / REPORT, EXPERIMENTS, outcomes)
    files.write_text(page, render(page, out, outcomes))


def render(page: Path, out: Path, outcomes: Mapping[str, Outcome]) -> str:
    """The page, with links from its place to those of the results in ``out`` and of the experiments."""
    here = os.path.relpath(out, page.parent)
    head = _HEAD.format(out=out, page=page, claims=f"{here}/{CLAIMS}", report=f"{here}/{REPORT}")
    rows = [_row(experiment, outcomes, page, here) for experiment in EXPERIMENTS]
    header = ("theorem", "file", "figure", "claims that hold", "falsified variants found out", "verdict")
    return f"{head}\n{table(header, rows)}\n"


def _row(experiment: Experiment, outcomes: Mapping[str, Outcome], page: Path, here: str) -> tuple[str, ...]:
    name = name_of(experiment)
    source = Path(__file__).with_name(f"{name}.py")
    theorem = f"**{experiment.TITLE}.** {docstring_parts(experiment)['Claim']}"
    file = f"[{name}.py]({os.path.relpath(source, page.resolve().parent)})"
    if name not in outcomes:
        return theorem, file, "–", "–", "–", "not run yet"
    outcome = outcomes[name]
    held, found, judgement = verdict(outcome)
    if outcome.facts["settings"] != "FULL":
        judgement += f" ({outcome.facts['settings']} settings only)"
    return theorem, file, f"[figure]({here}/{name}.png)", held, found, judgement
