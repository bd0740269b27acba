"""Drifts of both quantities: late by the solver, early by a plain method, with weight decay and without."""

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

import ulpm
from theory_experiments.harness.work import Work
from theory_experiments.numerics.decayed_flow import plain_flow
from theory_experiments.theorems.conserved_quantities.config import Config

__all__ = ["CONTRAST", "NAMES", "Data", "decay_laws", "largest_drifts", "simulate"]

NAMES = ("balancedness", "classifier_sum")
CONTRAST = 1e-2  # the weight decay in the figure


@dataclasses.dataclass(frozen=True)
class Data:
    """``paths`` of each problem; ``ratio`` of drifts at rtol/100 and rtol; changes of the plain flows at ``times``."""

    paths: list[ulpm.Trajectory]
    ratio: float
    descent_sum: float
    times: Float[Tensor, " R"]
    plain: dict[str, Float[Tensor, "R B"]]
    decayed: dict[str, Float[Tensor, "R B"]]


def simulate(config: Config, work: Work) -> Data:
    """Flows of every problem to late time, one of them at two tolerances, descent with momentum, and plain flows."""
    problems = [ulpm.Problem(counts, dim) for counts, dim in config.problems]
    paths = []
    for problem in problems:
        work.tell(f"the flow of {problem}")
        paths.append(_flow(config, work, problem, config.rtol, config.log10_time))
    work.tell("the flow at two tolerances")
    coarse, fine = (largest_drifts(_flow(config, work, problems[0], config.rtol / factor, 30.0)) for factor in (1, 100))
    work.tell("gradient descent with momentum")
    start = _start(config, problems[1])
    descent = work.descent(problems[1], start, learning_rate=0.05, momentum=0.3, steps=config.descent_steps, records=50)
    work.tell("the flow by a classical method")
    times = torch.linspace(0, config.plain_time, 41, dtype=torch.float64)
    small = ulpm.Problem([4, 3, 2], 5)
    plain, decayed = (_plain_drift(config, small, times, decay) for decay in (config.weight_decay, CONTRAST))
    return Data(
        paths,
        fine["balancedness"] / coarse["balancedness"],
        float(descent.invariant_drift["classifier_sum"].max()),
        times,
        plain,
        decayed,
    )


def largest_drifts(path: ulpm.Trajectory) -> dict[str, float]:
    """The largest drift of each quantity over all records and replicas."""
    return {name: float(drift.max()) for name, drift in path.invariant_drift.items()}


def decay_laws(times: Float[Tensor, " R"]) -> dict[str, Float[Tensor, " R"]]:
    """The predicted relative change of each quantity under the weight decay of the contrast."""
    return {"balancedness": -torch.expm1(-2 * CONTRAST * times), "classifier_sum": -torch.expm1(-CONTRAST * times)}


def _flow(config: Config, work: Work, problem: ulpm.Problem, rtol: float, log10_time: float) -> ulpm.Trajectory:
    return work.flow(problem, _start(config, problem), log10_time=log10_time, rtol=rtol, records=config.records)


def _start(config: Config, problem: ulpm.Problem) -> ulpm.State:
    return problem.random_state(config.seed, replicas=config.starts, device=config.device)


def _plain_drift(
    config: Config, problem: ulpm.Problem, times: Float[Tensor, " R"], decay: float
) -> dict[str, Float[Tensor, "R B"]]:
    """The change of each quantity along the plain flow, relative to its norm at the start."""
    start = _start(config, problem)
    states = plain_flow(problem, start, times, step=config.plain_step, weight_decay=decay, order=config.plain_order)
    change: dict[str, list[Tensor]] = {name: [] for name in NAMES}
    B_start, sum_start = _conserved(start)
    for state in states:
        B, total = _conserved(state)
        change["balancedness"].append((B - B_start).norm(dim=(-2, -1)) / B_start.norm(dim=(-2, -1)))
        change["classifier_sum"].append((total - sum_start).norm(dim=-1) / sum_start.norm(dim=-1))
    return {name: torch.stack(values).cpu() for name, values in change.items()}


def _conserved(state: ulpm.State) -> tuple[Float[Tensor, "B d d"], Float[Tensor, "B d"]]:
    return state.W.mT @ state.W - state.H @ state.H.mT, state.W.sum(-2)
