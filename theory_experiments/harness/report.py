"""The report: an overview of all experiments, and a page for each."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from theory_experiments.harness import experiment_page
from theory_experiments.harness.experiment_page import page_of, verdict
from theory_experiments.harness.experiments import Experiment, name_of
from theory_experiments.harness.markdown import table
from theory_experiments.harness.results import Outcome
from ulpm.support import files

__all__ = ["REPORT", "render", "write_report"]

REPORT = "report.md"

_HEAD = """# The theory of the unconstrained layer-peeled model, verified numerically

Each experiment has a page. It states a theorem with its hypotheses, and compares measured numbers with bounds. For each
bound it gives the reason: a tolerance, the theorem itself, or the size of the next correction. No bound was fitted to
what was measured.

Each experiment also has *negative controls*. There we change a constant, drop a hypothesis or add a term to the flow.
The same claims must then fail. The end of each page says what is not verified.

A measured number is evidence at the listed sizes and starts, not a proof. Every number is in `claims.json`.

## Verdicts
"""


def write_report(out: Path, experiments: Sequence[Experiment], outcomes: Mapping[str, Outcome]) -> None:
    """Replace report.md and the page of each experiment in ``out``.

    Raises: OSError with one sentence if a file cannot be written.
    """
    files.write_text(out / REPORT, render(experiments, outcomes))
    for experiment, outcome in _ran(experiments, outcomes):
        files.write_text(out / page_of(outcome.name), experiment_page.render(experiment, outcome, REPORT))


def render(experiments: Sequence[Experiment], outcomes: Mapping[str, Outcome]) -> str:
    """The overview of those of ``experiments`` that have outcomes, in Markdown."""
    rows, lessons = [], []
    for experiment, outcome in _ran(experiments, outcomes):
        link = f"[{experiment.TITLE}]({page_of(outcome.name)})"
        held, detected, judgement = verdict(outcome)
        settings = outcome.facts["settings"]
        rows.append((link, held, detected, judgement if settings == "FULL" else f"{judgement} ({settings})"))
        lessons.append(f"- {link}{'' if settings == 'FULL' else ', with the FULL settings'}: {experiment.LEARNT}")
    header = ("experiment", "claims that hold", "negative controls that fail", "verdict")
    return "\n".join([_HEAD, table(header, rows), "", "## What was learnt", "", *lessons, ""])


def _ran(experiments: Sequence[Experiment], outcomes: Mapping[str, Outcome]) -> list[tuple[Experiment, Outcome]]:
    return [(each, outcomes[name_of(each)]) for each in experiments if name_of(each) in outcomes]
