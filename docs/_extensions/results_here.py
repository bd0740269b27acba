"""What an experiment has left in the repository, shown where a page speaks of it.

    :::{experiment} rates

is its package, command, verdict and figure. Where there are no results yet, the page says so and names the command.
"""

from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import theory_experiments
from theory_experiments.harness import results
from theory_experiments.harness.experiments import file_of
from theory_experiments.harness.report import verdict

COMMITTED = Path(theory_experiments.__file__).parent / "results"


class Experiment(SphinxDirective):
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        (name,) = self.arguments
        if file_of(name).exists():
            self.env.note_dependency(str(COMMITTED / results.CLAIMS))
        return self.parse_text_to_nodes(_words(name))


def _words(name: str) -> str:
    command = f"`python -m theory_experiments {name}`"
    if not file_of(name).exists():
        return f"*Experiment:* `{name}`, which this version does not have yet."
    where = f"theory_experiments/theorems/{name}"
    source = f"[{where}](../{where}/__init__.py)"
    outcome = results.read(COMMITTED / results.CLAIMS).get(name)
    if outcome is None:
        return f"*Experiment:* {source}; run {command} for its verdict."
    held, found, judgement = verdict(outcome)
    lines = [
        f"*Experiment:* {source}, by {command}. *Verdict:* {judgement}; {held} claims hold, {found} negative controls "
        f"fail as they must ({outcome.facts['settings']} settings, {outcome.facts['hardware']}). Every claim with its "
        "bound, and the reason for the bound, is in the [report](../theory_experiments/results/report.md)."
    ]
    if (COMMITTED / f"{name}.png").exists():
        lines.append(f"![Figure of the experiment {name}](../theory_experiments/results/{name}.png)")
    return "\n\n".join(lines)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("experiment", Experiment)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
