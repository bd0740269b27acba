"""The flow, descent at every rate until the same flow times, and loss-scaled runs past their limits."""

import dataclasses
import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

import ulpm
from theory_experiments.harness.work import Work
from theory_experiments.theorems.descent_against_flow.config import Config
from theory_experiments.theorems.descent_against_flow.stability import latest_departure, threshold

__all__ = ["Data", "simulate"]


@dataclasses.dataclass(frozen=True)
class Data:
    """Relative distances from the flow and drifts of WᵀW − HHᵀ, [rates, times, starts]; loss-scaled runs; the flow."""

    plain: Float[Tensor, "E T B"]
    momentum: Float[Tensor, "E T B"]
    balancedness: Float[Tensor, "E T B"]
    classifier_sum: float
    scaled: list[ulpm.Trajectory]
    flow: ulpm.Trajectory


def simulate(config: Config, work: Work) -> Data:
    """The flow at the requested times, descent at every rate up to these, and loss-scaled runs past their limits."""
    problem = ulpm.Problem(config.counts, config.dim)
    start = problem.random_state(config.seed, replicas=config.starts, device=config.device)
    work.tell("the flow")
    targets = [
        work.flow(problem, start, log_time=math.log(time), rtol=1e-9, records=2).final_state for time in config.times
    ]
    runs: dict[float, list[list[ulpm.Trajectory]]] = {}
    for momentum in (0.0, config.momentum):
        step_time = (config.momentum_time if momentum else None) or 1 / (1 - momentum)
        runs[momentum] = []
        for rate in config.rates:
            work.tell(f"descent with rate {rate:g} and momentum {momentum:g}")
            steps = [max(1, int(time / (rate * step_time) + 0.5)) for time in config.times]
            runs[momentum].append(
                [
                    work.descent(problem, start, learning_rate=rate, momentum=momentum, steps=count, records=8)
                    for count in steps
                ]
            )
    scaled = []
    for rate in config.scaled_rates:
        work.tell(f"descent with rate {rate:g}/L")
        # In s = η·steps the flow has ρ² = 2v*·log t and log t ∝ e^(2s/v*), after an early phase of up to 7·v*/2.
        v = problem.minimum_norm_value
        norm = 1.3 * latest_departure(rate, v) * threshold(config, rate) / config.threshold
        count = round(v / 2 * (math.log(norm / (2 * v)) + 7) / rate)
        scaled.append(work.descent(problem, start, learning_rate=rate, steps=count, loss_scaled=True, records=200))
    end = max(float(path.log_time[-1].max()) for path in scaled)
    flow = work.flow(problem, start, log_time=end, records=config.flow_records)
    every = [path for each in runs.values() for paths in each for path in paths]
    return Data(
        _distances(runs[0.0], targets),
        _distances(runs[config.momentum], targets),
        torch.stack([torch.stack([p.invariant_drift["balancedness"][-1] for p in paths]) for paths in runs[0.0]]),
        max(float(path.invariant_drift["classifier_sum"].max()) for path in [*every, *scaled]),
        scaled,
        flow,
    )


def _distances(runs: Sequence[Sequence[ulpm.Trajectory]], targets: Sequence[ulpm.State]) -> Float[Tensor, "E T B"]:
    """‖Θ − Θ_flow‖/ρ_flow at the ends."""

    def distance(path: ulpm.Trajectory, target: ulpm.State) -> Tensor:
        end = path.final_state
        return (ulpm.State(end.W - target.W, end.H - target.H).squared_norm / target.squared_norm).sqrt().cpu()

    return torch.stack([torch.stack([distance(*each) for each in zip(paths, targets, strict=True)]) for paths in runs])
