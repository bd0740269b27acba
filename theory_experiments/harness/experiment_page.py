"""The page of one experiment: the theorem, what was learnt, the figure, claims, negative controls and settings.

Pages must be readable at the width of a phone. So the table of claims has two columns, and long lists are folded.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from theory_experiments.harness.claim import Claim
from theory_experiments.harness.experiments import EXPERIMENTS, Experiment, name_of
from theory_experiments.harness.markdown import folded, number, plain, sentence, table, with_symbols
from theory_experiments.harness.results import Outcome

__all__ = ["docstring_parts", "page_of", "render", "verdict"]

_HEADINGS = ("Hypotheses", "Source", "Negative controls", "Not verified")


def page_of(name: str) -> str:
    """The file name of the page of the experiment with this name."""
    return f"{name}.md"


def verdict(outcome: Outcome) -> tuple[str, str, str]:
    """Claims that hold, negative controls that fail, and the judgement, in words."""
    held = len(outcome.claims) - len(outcome.failing)
    detected = len(outcome.negative_controls) - len(outcome.undetected)
    judgement = "verified" if outcome.passes else "**not verified**"
    return f"{held} of {len(outcome.claims)}", f"{detected} of {len(outcome.negative_controls)}", judgement


def docstring_parts(experiment: Experiment) -> dict[str, str]:
    """The docstring of an experiment by heading: "Claim" (its first sentence), "Hypotheses", "Source", ….

    Raises: ValueError if one of the four headings is missing.
    """
    text = (experiment.__doc__ or "").strip()
    claim, _, rest = text.partition("\n")
    parts = {"Claim": claim.strip()}
    heading = None
    for line in rest.splitlines():
        found = re.match(rf"({'|'.join(_HEADINGS)}):\s*(.*)", line)
        if found:
            heading = found[1]
            parts[heading] = found[2]
        elif heading is not None:
            parts[heading] += f"\n{line.strip()}"
    for needed in _HEADINGS:
        if not parts.get(needed, "").strip():
            raise ValueError(f"the docstring of {experiment.__name__} must have a paragraph '{needed}: …'.")
    return {name: text.strip() for name, text in parts.items()}


def render(experiment: Experiment, outcome: Outcome, overview: str) -> str:
    """The page in Markdown; ``overview`` is the file name of the page that lists all experiments."""
    parts = {name: _linked(text) for name, text in docstring_parts(experiment).items()}
    held, detected, judgement = verdict(outcome)
    settings = outcome.facts["settings"]
    # The sentence speaks of the times and sizes of the full settings.
    learnt = "Learnt" if settings == "FULL" else "Learnt with the FULL settings"
    with_sizes = "" if settings == "FULL" else f", with {settings} settings only"
    return "\n\n".join(
        [
            f"# {experiment.TITLE}",
            f"**{learnt}.** {plain(experiment.LEARNT)}",
            f"**Verdict: {judgement.strip('*')}**{with_sizes}. {held} claims hold. {detected} negative controls fail, "
            f"as they must. [All experiments]({overview})",
            f"## Theorem\n\n**{parts['Claim']}**",
            f"*Hypotheses.* {sentence(parts['Hypotheses'])}",
            f"*Source.* {sentence(parts['Source'])}",
            f"## Figure\n\n![{experiment.TITLE}]({outcome.name}.png)\n\n{with_symbols(experiment.EXPLANATION.strip())}",
            f"## Claims\n\n{_claims(outcome.claims)}",
            f"## Why these bounds\n\n{_reasons(outcome.claims)}",
            f"## Negative controls\n\n{sentence(parts['Negative controls'])}\n\n{_controls(outcome)}",
            f"## Not verified\n\n{sentence(parts['Not verified'])}",
            f"## Settings\n\n{folded('Sizes, command, hardware and versions', _circumstances(outcome.facts))}\n",
        ]
    )


def _linked(text: str) -> str:
    """``text`` as Markdown, in which "see NAME" links to the page of the experiment NAME."""
    names = {plain(name): name for name in map(name_of, EXPERIMENTS)}
    pattern = rf"\bsee ({'|'.join(map(re.escape, names))})\b"
    return re.sub(pattern, lambda found: f"see [{found[1]}]({page_of(names[found[1]])})", plain(text))


def _claims(claims: Sequence[Claim]) -> str:
    """One row a claim, with its number, by which reasons and negative controls refer to it."""
    rows = [
        (
            f"{i}. {plain(claim.statement)}",
            f"{number(claim.measured)}<br>{_bound(claim)}" if claim.holds else _failing(claim),
        )
        for i, claim in enumerate(claims, start=1)
    ]
    return table(("claim", "measured, bound"), rows)


def _reasons(claims: Sequence[Claim]) -> str:
    """Each reason once, after the numbers of the claims that it is for."""
    numbers: dict[str, list[int]] = {}
    for i, claim in enumerate(claims, start=1):
        numbers.setdefault(claim.reason, []).append(i)
    return "\n".join(f"- {_named(which)}: {_linked(sentence(reason))}" for reason, which in numbers.items())


def _named(numbers: Sequence[int]) -> str:
    """Claims 1, 4–6."""
    runs: list[list[int]] = []
    for i in numbers:
        if runs and i == runs[-1][-1] + 1:
            runs[-1].append(i)
        else:
            runs.append([i])
    words = [f"{run[0]}–{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs]
    return f"**Claim{'s' if len(numbers) > 1 else ''} {', '.join(words)}**"


def _controls(outcome: Outcome) -> str:
    """What fails under each control: that shows that the claims above could have failed."""
    blocks = []
    for name, claims in outcome.negative_controls.items():
        failing = [claim for claim in claims if not claim.holds]
        lines = "\n".join(f"- {plain(sentence(claim.statement))} Measured {_failing(claim)}." for claim in failing)
        count = f"{len(failing)} of {len(claims)} claims fail"
        found = folded(count, lines) if failing else "**Not detected: all claims hold.**"
        blocks.append(f"**{plain(sentence(name))}**\n\n{found}")
    return "\n\n".join(blocks)


def _circumstances(facts: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    lines = [f"- settings {facts['settings']}: {_knobs(facts['config'])}"]
    lines += [
        f"- negative control “{control}”: {_knobs(_differences(knobs, facts['config']))}"
        for control, knobs in facts["negative_control_configs"].items()
    ]
    lines += [f"- command: `{facts['command']}`", f"- hardware: {facts['hardware']}", f"- versions: {versions}"]
    return "\n".join(lines)


def _differences(knobs: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in knobs.items() if base.get(name) != value}


def _knobs(config: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = `{value}`" for name, value in config.items())


def _bound(claim: Claim) -> str:
    return f"{'≤' if claim.comparator == '<=' else '≥'}\N{NO-BREAK SPACE}{number(claim.bound)}"


def _failing(claim: Claim) -> str:
    return f"**{number(claim.measured)}, not {_bound(claim)}**"
