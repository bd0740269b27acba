"""The page of theorems: the paper's numbers → file → figure → verdict, then all experiments, from the results."""

import os
from collections.abc import Mapping
from pathlib import Path

from theory_experiments.harness import results
from theory_experiments.harness.experiments import EXPERIMENTS, Experiment, file_of, name_of
from theory_experiments.harness.paper_items import ITEMS, Item
from theory_experiments.harness.report import REPORT, docstring_parts, table, verdict, write_report
from theory_experiments.harness.results import CLAIMS, Outcome
from ulpm.support import files

__all__ = ["render", "rewrite"]

_ROOT = Path(__file__).parents[2]

_HEAD = """# Theorems, and where each is verified

Written by `python -m theory_experiments --out {out} --theorems-page {page}`,
which computes nothing: verdicts are those of [claims.json]({claims}), and the [report]({report}) explains them bound by
bound. `python -m theory_experiments NAME --out {out}` runs an experiment again.

## By the numbers of the paper

The paper is Ji, Lu, Zhang, Deng, Su, *An Unconstrained Layer-Peeled Perspective on Neural Collapse*, ICLR 2022. The
second column says in our words what an item states. A verdict is that of the whole experiment, which often claims more
than the item.
"""

_NOT_KNOWN = """
**What we do not know of the paper.** We have read its running text, but not the bodies of its theorems, its tables or
its appendix. So we do not know the exact hypotheses of the theorems, for example d > K or L < log 2, or the numbers of
Example 3.1. We do not know the settings of its simulation, or the number of epochs, the schedule and the augmentation
of its networks. The last column says what this leaves open and what we chose. So a verdict is about the claim of our
experiment, under the hypotheses that the experiment names, and not about the exact wording of the paper.

## All experiments
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
    of_paper = table(
        ("in the paper", "content", "file", "figure", "verdict", "not known, or different here"),
        [_paper_row(item, outcomes, page, here) for item in ITEMS],
    )
    rows = [_row(experiment, outcomes, page, here) for experiment in EXPERIMENTS]
    header = ("theorem", "file", "figure", "claims that hold", "negative controls that fail", "verdict")
    return f"{head}\n{of_paper}\n{_NOT_KNOWN}\n{table(header, rows)}\n"


def _paper_row(item: Item, outcomes: Mapping[str, Outcome], page: Path, here: str) -> tuple[str, ...]:
    sources = ", ".join(_link(_ROOT / file, page) for file in item.files)
    if not item.experiment:
        results_page = _link(_ROOT / item.results, page, "results of the networks")
        return item.number, item.content, sources, results_page, "stated on that page", item.open
    if item.experiment not in outcomes:
        return item.number, item.content, sources, "–", "not run yet", item.open
    outcome = outcomes[item.experiment]
    held, found, _ = verdict(outcome)
    words = f"{_judgement(outcome)}: {held} claims hold, {found} negative controls fail as they must"
    return item.number, item.content, sources, _figure(item.experiment, here), words, item.open


def _row(experiment: Experiment, outcomes: Mapping[str, Outcome], page: Path, here: str) -> tuple[str, ...]:
    name = name_of(experiment)
    theorem = f"**{experiment.TITLE}.** {docstring_parts(experiment)['Claim']}"
    file = _link(file_of(name), page)
    if name not in outcomes:
        return theorem, file, "–", "–", "–", "not run yet"
    held, found, _ = verdict(outcomes[name])
    return theorem, file, _figure(name, here), held, found, _judgement(outcomes[name])


def _judgement(outcome: Outcome) -> str:
    """The verdict, with a word of warning if the sizes were not the full ones."""
    _, _, judgement = verdict(outcome)
    settings = outcome.facts["settings"]
    return judgement if settings == "FULL" else f"{judgement} ({settings} settings only)"


def _link(file: Path, page: Path, text: str = "") -> str:
    name = file.parent.name if file.name == "__init__.py" else file.name
    return f"[{text or name}]({os.path.relpath(file, page.resolve().parent)})"


def _figure(name: str, here: str) -> str:
    return f"[figure]({here}/{name}.png)"
