"""The simulated flow, and the exponents of the metrics in the paper's four panels."""

import dataclasses

import ulpm
from theory_experiments.harness.work import Work
from theory_experiments.numerics.exponents import Interval, confidence, fitted_exponents
from theory_experiments.theorems.simulation.config import Config
from ulpm.support import law_exponents

__all__ = ["PANELS", "Data", "claimed_exponents", "measured_exponents", "simulate"]

# The panels of the paper: title and metrics.
PANELS = {
    "(a) variation of norms": ("nc2_norm_means", "nc2_norm_classifier_centered"),
    "(b) within-class variation": ("nc1_distance",),
    "(c) angles": ("nc2_angle_means", "nc2_angle_classifier_centered"),
    "(d) self-duality": ("nc3_duality",),
}


@dataclasses.dataclass(frozen=True)
class Data:
    """One trajectory of ``starts`` replicas."""

    path: ulpm.Trajectory


def simulate(config: Config, work: Work) -> Data:
    """The flow from random starts."""
    problem = ulpm.Problem(config.counts, config.dim)
    work.tell(f"the flow to t = 10^{config.log10_time:g}")
    start = problem.random_state(config.seed, replicas=config.starts, device=config.device)
    path = work.flow(problem, start, log10_time=config.log10_time, rtol=config.rtol, records=config.records)
    return Data(path)


def measured_exponents(config: Config, path: ulpm.Trajectory) -> dict[str, Interval]:
    """The exponent of each metric of the panels."""
    names = [name for panel in PANELS.values() for name in panel]
    return {name: confidence(fitted_exponents(path.log_time, path.metrics[name], config.fit_from)) for name in names}


def claimed_exponents(config: Config) -> dict[str, float]:
    """The claimed exponents. For unequal counts and small d they are those of a simplex: this claim must fail."""
    problem = ulpm.Problem([2] * len(config.counts), max(config.dim, len(config.counts)))
    laws = law_exponents(problem)
    return dict.fromkeys(laws, -1.0) if config.guide_as_law else laws
