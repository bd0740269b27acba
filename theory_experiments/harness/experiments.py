"""The experiments in the order of the report, and the names in the package of each."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from matplotlib.figure import Figure

from theory_experiments import theorems
from theory_experiments.harness.claim import Claim
from theory_experiments.harness.work import Work
from theory_experiments.theorems import (
    benign_landscape,
    conserved_quantities,
    descent_against_flow,
    escape,
    global_minimisers,
    imbalance,
    implicit_bias,
    label_smoothing,
    losses,
    lowest_loss,
    minority_collapse,
    narrow_features,
    phase_diagram,
    rates,
    simulation,
    solved_flows,
    suboptimal_kkt_points,
    weight_decay,
)

__all__ = ["EXPERIMENTS", "Experiment", "chosen", "file_of", "name_of"]


@runtime_checkable
class Experiment(Protocol):
    """A package with a docstring (claim, hypotheses, source, negative controls, what is not verified)
    and these names.

    ``Config`` has at least the fields ``seed``, ``starts`` and ``device``. Under each configuration of
    ``NEGATIVE_CONTROLS`` at least one claim must fail. ``LEARNT`` is one sentence and ``EXPLANATION`` is Markdown, both
    for the page of the experiment.
    """

    __name__: str
    __doc__: str | None
    TITLE: str
    LEARNT: str
    FULL: Any
    QUICK: Any
    NEGATIVE_CONTROLS: dict[str, Any]
    EXPLANATION: str

    def simulate(self, config: Any, work: Work) -> Any:
        """Compute the data for the claims and the figure."""

    def check(self, config: Any, data: Any) -> list[Claim]:
        """The claims about what ``simulate`` returned, invariants first."""

    def plot(self, config: Any, data: Any) -> Figure:
        """The figure of the page."""


EXPERIMENTS: tuple[Experiment, ...] = (
    conserved_quantities,
    implicit_bias,
    global_minimisers,
    suboptimal_kkt_points,
    lowest_loss,
    benign_landscape,
    rates,
    solved_flows,
    losses,
    escape,
    imbalance,
    minority_collapse,
    weight_decay,
    label_smoothing,
    phase_diagram,
    narrow_features,
    descent_against_flow,
    simulation,
)


def name_of(experiment: Experiment) -> str:
    """The name by which the command line and the results know an experiment: that of its package."""
    return experiment.__name__.rpartition(".")[2]


def file_of(name: str) -> Path:
    """The file that states the claim of the experiment with this name."""
    return Path(theorems.__file__).parent / name / "__init__.py"


def chosen(names: Sequence[str]) -> list[Experiment]:
    """The experiments with these names, in the order of the report; all of them if no name is given.

    Raises: ValueError for a name that no experiment has.
    """
    known = {name_of(experiment): experiment for experiment in EXPERIMENTS}
    for name in names:
        if name not in known:
            raise ValueError(f"there is no experiment {name!r}: choose from {', '.join(known)}.")
    return [experiment for name, experiment in known.items() if name in names or not names]
