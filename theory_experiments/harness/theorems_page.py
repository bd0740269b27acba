"""The page of theorems: the paper's numbers → experiment → verdict, then all experiments, from the results."""

import os
from collections.abc import Mapping
from pathlib import Path

from theory_experiments.harness import results
from theory_experiments.harness.experiment_page import docstring_parts, page_of, verdict
from theory_experiments.harness.experiments import EXPERIMENTS, Experiment, file_of, name_of
from theory_experiments.harness.markdown import table
from theory_experiments.harness.paper_items import ITEMS, Item
from theory_experiments.harness.report import REPORT, write_report
from theory_experiments.harness.results import CLAIMS, Outcome
from ulpm.support import files

__all__ = ["render", "rewrite"]

_ROOT = Path(__file__).parents[2]

_HEAD = """# Theorems, and where each is verified

The command `python -m theory_experiments --out {out} --theorems-page {page}` writes this page and computes nothing. The
verdicts are those of [claims.json]({claims}). Each experiment has a page with its claims, bounds and negative controls;
the [report]({report}) lists them all. `python -m theory_experiments NAME --out {out}` runs an experiment again.

## By the numbers of the paper

The paper is Ji, Lu, Zhang, Deng, Su, *An Unconstrained Layer-Peeled Perspective on Neural Collapse*, ICLR 2022. The
second column says in our words what an item states. A verdict is that of the whole experiment, which often claims more
than the item.
"""

_NOT_KNOWN = """
## What we do not know of the paper

We have read its running text, but not the bodies of its theorems, its tables or its appendix. So we do not know the
exact hypotheses of the theorems, for example d > K or L < log 2. We do not know the numbers of Example 3.1, the
settings of the simulation, or the number of epochs, the schedule and the augmentation of the networks. So a verdict
is about the claim of our experiment, under the hypotheses that the experiment names, not about the exact wording of
the paper.

For single items:
"""


def rewrite(page: Path, out: Path) -> None:
    """Write ``page``, and in ``out`` the report with its pages, from claims.json there.

    Raises: ValueError if there are no results, OSError if a file cannot be read or written.
    """
    outcomes = results.read(out / CLAIMS)
    if not outcomes:
        raise ValueError(f"there are no results in {out}: run the experiments with --out {out} first.")
    write_report(out, EXPERIMENTS, outcomes)
    files.write_text(page, render(page, out, outcomes))


def render(page: Path, out: Path, outcomes: Mapping[str, Outcome]) -> str:
    """The page, with links from its place to the pages of results in ``out`` and to the files of the experiments."""
    here = os.path.relpath(out, page.parent)
    head = _HEAD.format(out=out, page=page, claims=f"{here}/{CLAIMS}", report=f"{here}/{REPORT}")
    of_paper = table(
        ("in the paper", "content", "verified in", "verdict"),
        [_paper_row(item, outcomes, page, here) for item in ITEMS],
    )
    open_questions = "\n".join(f"- {item.number}: {item.open}" for item in ITEMS if item.open)
    rows = [_row(experiment, outcomes, page, here) for experiment in EXPERIMENTS]
    experiments = table(("theorem", "file", "verdict"), rows)
    return f"{head}\n{of_paper}\n{_NOT_KNOWN}\n{open_questions}\n\n## All experiments\n\n{experiments}\n"


def _paper_row(item: Item, outcomes: Mapping[str, Outcome], page: Path, here: str) -> tuple[str, ...]:
    files_of_item = ", ".join(_link(_ROOT / file, page) for file in item.files)
    if not item.experiment:
        results_page = _link(_ROOT / item.results, page, "results of the networks")
        return item.number, item.content, f"{results_page}; {files_of_item}", "stated on that page"
    if item.experiment not in outcomes:
        return item.number, item.content, files_of_item, "not run yet"
    outcome = outcomes[item.experiment]
    titles = {name_of(experiment): experiment.TITLE for experiment in EXPERIMENTS}
    where = f"{_page_link(item.experiment, titles.get(item.experiment, item.experiment), here)}; {files_of_item}"
    return item.number, item.content, where, _in_words(outcome)


def _row(experiment: Experiment, outcomes: Mapping[str, Outcome], page: Path, here: str) -> tuple[str, ...]:
    name, claim = name_of(experiment), docstring_parts(experiment)["Claim"]
    file = _link(file_of(name), page, "file")
    if name not in outcomes:
        return f"**{experiment.TITLE}.** {claim}", file, "not run yet"
    return f"**{_page_link(name, experiment.TITLE, here)}.** {claim}", file, _in_words(outcomes[name])


def _in_words(outcome: Outcome) -> str:
    held, detected, _ = verdict(outcome)
    return f"{_judgement(outcome)}: {held} claims hold, {detected} negative controls fail, as they must"


def _judgement(outcome: Outcome) -> str:
    """The verdict, with a word of warning if the sizes were not the full ones."""
    _, _, judgement = verdict(outcome)
    settings = outcome.facts["settings"]
    return judgement if settings == "FULL" else f"{judgement} ({settings} settings only)"


def _link(file: Path, page: Path, text: str = "") -> str:
    name = file.parent.name if file.name == "__init__.py" else file.name
    return f"[{text or name}]({os.path.relpath(file, page.resolve().parent)})"


def _page_link(name: str, text: str, here: str) -> str:
    return f"[{text}]({here}/{page_of(name)})"
