"""The report: every experiment with its hypotheses, claims, falsified variants, figure and what was not verified."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from theory_experiments.harness.claim import Claim
from theory_experiments.harness.experiments import Experiment, name_of
from theory_experiments.harness.results import Outcome
from ulpm.support import files

__all__ = ["REPORT", "docstring_parts", "render", "table", "verdict", "write_report"]

REPORT = "report.md"

_HEAD = """# The theory of the unconstrained layer-peeled model, verified numerically

Each section states a theorem and its hypotheses, holds measured numbers against bounds, and says for each bound why it
is what it is. Bounds come from tolerances, from the theorem itself or from the size of the next correction, and were
not fitted to what was measured. Then the theorem is *falsified*: a constant is changed, a hypothesis dropped, a term
added to the flow, and the same claims must fail. What none of this verifies is said at the end of each section.

A measured number is evidence at the listed sizes and starts, not a proof. Every number is in `claims.json`.
"""


def write_report(path: Path, experiments: Sequence[Experiment], outcomes: Mapping[str, Outcome]) -> None:
    """Replace ``path`` by the report. Raises: OSError with one sentence if it cannot be written."""
    files.write_text(path, render(experiments, outcomes))


def render(experiments: Sequence[Experiment], outcomes: Mapping[str, Outcome]) -> str:
    """The report on those of ``experiments`` that have outcomes, in Markdown."""
    ran = [(experiment, outcomes[name_of(experiment)]) for experiment in experiments if name_of(experiment) in outcomes]
    rows = [
        (f"[{experiment.TITLE}](#{_anchor(experiment.TITLE)})", *verdict(outcome), outcome.facts["settings"])
        for experiment, outcome in ran
    ]
    summary = table(("experiment", "claims that hold", "negative controls that fail", "verdict", "settings"), rows)
    return "\n".join([_HEAD, summary, "", *(_section(*each) for each in ran)])


def verdict(outcome: Outcome) -> tuple[str, str, str]:
    """Claims that hold, falsified variants that are found out, and the judgement, in words."""
    held, found = len(outcome.claims) - len(outcome.failing), len(outcome.falsified) - len(outcome.undetected)
    judgement = "verified" if outcome.passes else "**not verified**"
    return f"{held} of {len(outcome.claims)}", f"{found} of {len(outcome.falsified)}", judgement


def docstring_parts(experiment: Experiment) -> dict[str, str]:
    """The docstring of an experiment by heading: "Claim" (its first sentence), "Hypotheses", "Source", ….

    Raises: ValueError if one of the four headings is missing.
    """
    text = (experiment.__doc__ or "").strip()
    claim, _, rest = text.partition("\n")
    parts = {"Claim": claim.strip()}
    heading = None
    for line in rest.splitlines():
        found = re.match(r"(Hypotheses|Source|Falsified by|Not verified):\s*(.*)", line)
        if found:
            heading = found[1]
            parts[heading] = found[2]
        elif heading is not None:
            parts[heading] += f"\n{line}" if line.strip() else "\n"
    for needed in ("Hypotheses", "Source", "Falsified by", "Not verified"):
        if not parts.get(needed, "").strip():
            raise ValueError(f"the docstring of {experiment.__name__} must have a paragraph '{needed}: …'.")
    return {name: text.strip() for name, text in parts.items()}


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; vertical bars in cells are escaped."""
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    return "\n".join(lines + ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows])


def _section(experiment: Experiment, outcome: Outcome) -> str:
    parts, name, facts = docstring_parts(experiment), outcome.name, outcome.facts
    return "\n\n".join(
        [
            f"## {experiment.TITLE}",
            f"**{parts['Claim']}**",
            f"*Hypotheses.* {_sentence(parts['Hypotheses'])}",
            f"*Source.* {_sentence(parts['Source'])}",
            f"### Claims\n\n{_claims(outcome.claims)}",
            f"### Negative controls\n\n{_sentence(parts['Falsified by'])}\n\n{_falsified(outcome)}",
            f"### What the figure shows\n\n![{experiment.TITLE}]({name}.png)\n\n{experiment.EXPLANATION.strip()}",
            f"### Not verified\n\n{_sentence(parts['Not verified'])}",
            f"### How it was made\n\n{_circumstances(facts)}\n",
        ]
    )


def _claims(claims: Sequence[Claim]) -> str:
    rows, before = [], ""
    for claim in claims:
        reason = "as above" if claim.reason == before else claim.reason
        rows.append(
            (claim.statement, _number(claim.measured), _bound(claim), "yes" if claim.holds else "**no**", reason)
        )
        before = claim.reason
    return table(("claim", "measured", "bound", "holds", "why this bound"), rows)


def _falsified(outcome: Outcome) -> str:
    """What fails under each variant: that is what shows that the claims above could have failed."""
    rows = []
    for variant, claims in outcome.falsified.items():
        failing = [
            f"{claim.statement} {_number(claim.measured)}, not {_bound(claim)}" for claim in claims if not claim.holds
        ]
        rows.append((variant, f"{len(failing)} of {len(claims)}", "<br>".join(failing) or "**none: not detected**"))
    return table(("variant", "claims that fail", "which"), rows)


def _circumstances(facts: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    lines = [f"- settings {facts['settings']}: {_knobs(facts['config'])}"]
    lines += [
        f"- falsified, {variant}: {_knobs(_differences(knobs, facts['config']))}"
        for variant, knobs in facts["falsified_configs"].items()
    ]
    lines += [f"- command: `{facts['command']}`", f"- hardware: {facts['hardware']}", f"- versions: {versions}"]
    return "\n".join(lines)


def _differences(knobs: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in knobs.items() if base.get(name) != value}


def _knobs(config: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = `{value}`" for name, value in config.items())


def _bound(claim: Claim) -> str:
    return f"{'≤' if claim.comparator == '<=' else '≥'} {_number(claim.bound)}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _number(value: float) -> str:
    return f"{value:.4g}"


def _cell(value: object) -> str:
    return str(value).replace("\n", " ").replace("|", "\\|")


def _anchor(title: str) -> str:
    """The fragment that renderers of Markdown give to a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
