"""The flow from random starts, and from starts without the mean row."""

import dataclasses

import ulpm
from theory_experiments.harness.work import Work
from theory_experiments.theorems.rates.config import SHARP_RANGE, Config

__all__ = ["Data", "simulate"]


@dataclasses.dataclass(frozen=True)
class Data:
    """A trajectory of ``starts`` replicas for each kind of run, and one of ``sharp_starts`` for each of ``sharp``."""

    paths: dict[str, ulpm.Trajectory]
    sharp: list[ulpm.Trajectory]


def simulate(config: Config, work: Work) -> Data:
    """The flow from random starts; for "centred" the mean of the classifier's rows is subtracted first."""
    paths = {}
    for kind in config.runs:
        unequal = kind == "unequal"
        problem = ulpm.Problem(config.unequal_counts if unequal else config.counts, 8 if unequal else config.dim)
        work.tell(f"{kind}: {problem} to t = 10^{config.log10_time:g}")
        start = problem.random_state(config.seed, replicas=config.starts, device=config.device)
        if kind == "centred" or config.centred_as_generic:
            start = ulpm.State(start.W - start.W.mean(-2, keepdim=True), start.H)
        paths[kind] = work.flow(problem, start, log10_time=config.log10_time, rtol=config.rtol, records=config.records)
    sharp = []
    for counts, dim in config.sharp:
        problem = ulpm.Problem(counts, dim)
        work.tell(f"{problem} to log t = {SHARP_RANGE[1]:g}")
        start = problem.random_state(config.seed, replicas=config.sharp_starts, device=config.device)
        # Small metrics late in the flow need a tight tolerance, at any size of the experiment.
        sharp.append(work.flow(problem, start, log_time=SHARP_RANGE[1], rtol=1e-7, records=150, snapshots=2))
    return Data(paths, sharp)
