"""The page of theorems: the paper's numbers → experiment → verdict, then all experiments, from the results."""

import os
from collections.abc import Mapping
from pathlib import Path

from theory_experiments.harness import results
from theory_experiments.harness.experiment_page import docstring_parts, page_of, verdict
from theory_experiments.harness.experiments import EXPERIMENTS, Experiment, file_of, name_of
from theory_experiments.harness.markdown import plain, table
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
## Files, and what we do not know of the paper

We have read its running text, but not the bodies of its theorems, its tables or its appendix. So we do not know the
exact hypotheses of the theorems, for example d > K or L < log 2. We do not know the numbers of Example 3.1, the
settings of the simulation, or the number of epochs, the schedule and the augmentation of the networks. So a verdict
is about the claim of our experiment, under the hypotheses that the experiment names, not about the exact wording of
the paper.

These are the files of each item, and what we do not know of it or do differently:
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
    of_paper = table(("in the paper", "content", "verdict"), [_paper_row(item, outcomes, page, here) for item in ITEMS])
    items = "\n".join(f"- {item.number}: {_files(item, page)}. {item.open}".strip() for item in ITEMS)
    experiments = table(("theorem", "verdict"), [_row(each, outcomes, page, here) for each in EXPERIMENTS])
    return f"{head}\n{of_paper}\n{_NOT_KNOWN}\n{items}\n\n## All experiments\n\n{experiments}\n"


def _paper_row(item: Item, outcomes: Mapping[str, Outcome], page: Path, here: str) -> tuple[str, ...]:
    if not item.experiment:
        return item.number, item.content, f"see the {_link(_ROOT / item.results, page, 'results of the networks')}"
    if item.experiment not in outcomes:
        return item.number, item.content, "not run yet"
    titles = {name_of(experiment): experiment.TITLE for experiment in EXPERIMENTS}
    where = _page_link(item.experiment, titles.get(item.experiment, item.experiment), here)
    return item.number, item.content, f"{where}: {_in_words(outcomes[item.experiment])}"


def _files(item: Item, page: Path) -> str:
    return ", ".join(_link(_ROOT / file, page) for file in item.files)


def _row(experiment: Experiment, outcomes: Mapping[str, Outcome], page: Path, here: str) -> tuple[str, ...]:
    name, claim = name_of(experiment), plain(docstring_parts(experiment)["Claim"])
    file = _link(file_of(name), page, "File")
    if name not in outcomes:
        return f"**{experiment.TITLE}.** {claim} {file}.", "not run yet"
    return f"**{_page_link(name, experiment.TITLE, here)}.** {claim} {file}.", _in_words(outcomes[name])


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
