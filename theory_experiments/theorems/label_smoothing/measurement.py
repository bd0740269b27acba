"""Flows with smoothed labels: with decay and without, from near an end, and on the collapsed ray."""

import dataclasses
import math

import torch
from jaxtyping import Float

import ulpm
from theory_experiments.harness.work import Work
from theory_experiments.numerics.decayed_ends import Setting, closed_margin, margin_rate
from theory_experiments.numerics.finite_ends import distances, fall, slowest_mode, straightness
from theory_experiments.theorems.label_smoothing.config import FEW, SIZE, Config

__all__ = ["Approach", "Data", "simulate"]


@dataclasses.dataclass(frozen=True)
class Approach:
    """A run to compare with a rate: distances from the end along it, and the claimed rate."""

    name: str
    time: Float[torch.Tensor, " R"]
    distance: Float[torch.Tensor, " R"]
    rate: float

    @property
    def fitted(self) -> float:
        """The rate at which the distance falls from a tenth to 10^−4 of the first one."""
        first = float(self.distance[0])
        part = fall(self.distance, 1e-1 * first, 1e-4 * first)
        return -straightness(self.time[part], self.distance[part].log())[0]


@dataclasses.dataclass(frozen=True)
class Data:
    """Flows with decay; without, by scale and α; approaches to the end; plain and smoothed rays with equal decay."""

    ends: list[ulpm.Trajectory]
    free: list[ulpm.Trajectory]
    approaches: list[Approach]
    rays: list[tuple[ulpm.Trajectory, ulpm.Trajectory]]


def simulate(config: Config, work: Work) -> Data:
    """All flows, until they converge."""
    K, n, d = SIZE
    ends, free, approaches, rays = [], [], [], []
    for smoothing in config.smoothings:
        work.tell(f"α = {smoothing:g}")
        for strength in config.strengths:
            problem = Setting(K, n, d, strength, 4.0, smoothing).problem
            ends.append(_flow(config, work, problem, problem.random_state(config.seed, replicas=config.starts)))
        problem = _free(smoothing, SIZE)
        for scale in config.scales:
            start = problem.random_state(config.seed, scale, replicas=config.starts)
            free.append(_flow(config, work, problem, start))
        if config.rates:
            approaches += _approaches(config, work, smoothing)
        for decay in config.decays:
            pair = []
            for α in (0.0, smoothing):
                loss = ulpm.CrossEntropy(α)
                problem = ulpm.Problem([n] * K, d, loss=loss, weight_decay=(decay, decay), reduction="mean")
                norm = math.sqrt(2 * (K - 1) * math.sqrt(n))
                start = ulpm.collapsed_state(problem, norm=norm).to(config.device)
                # A run needs a time of some 10/rate to come near the end, and as much for the fit.
                end = math.log(40 / margin_rate(problem))
                pair.append(work.flow(problem, start, log_time=end, rtol=1e-9, records=400))
            rays.append((pair[0], pair[1]))
    return Data(ends, free, approaches, rays)


def _free(smoothing: float, size: tuple[int, int, int]) -> ulpm.Problem:
    K, n, d = size
    return ulpm.Problem([n] * K, d, loss=ulpm.CrossEntropy(smoothing))


def _flow(config: Config, work: Work, problem: ulpm.Problem, start: ulpm.State) -> ulpm.Trajectory:
    return work.flow(problem, start.to(config.device), log10_time=10.0, rtol=config.rtol, records=30)


def _approaches(config: Config, work: Work, smoothing: float) -> list[Approach]:
    """From the collapsed simplex and from the end of a random start, each moved along its slowest mode."""
    problem = _free(smoothing, FEW)
    K, n, _ = FEW
    q = closed_margin(problem)
    simplex = ulpm.collapsed_state(problem, norm=math.sqrt(2 * (K - 1) * math.sqrt(n) * q))
    random = _flow(config, work, problem, problem.random_state(config.seed)).final_state.to("cpu")
    found = []
    for name, end in (
        (f"simplex, slowest mode, α = {smoothing:g}", simplex),
        (f"random end, slowest mode, α = {smoothing:g}", random),
    ):
        rate, mode = slowest_mode(problem, end)
        if end is simplex:
            rate = config.rate_factor * math.sqrt(n) * q * smoothing / K
        start = end + 1e-3 * float(end.squared_norm.sqrt()) * mode
        # Ten times as far as the fit needs.
        path = work.flow(
            problem, start.to(config.device), log_time=math.log(15 / rate), rtol=1e-10, records=300, snapshots=300
        )
        distance = distances(path, q * torch.eye(K, dtype=torch.float64))
        found.append(Approach(name, path.log_time.exp().cpu(), distance, rate))
    return found
