"""Flows with d < K, the KKT point near each end, and a flow that leaves a saddle."""

import dataclasses
import math

from torch import Tensor

import ulpm
from theory_experiments.harness.work import Work
from theory_experiments.numerics.kkt_points import Ending, classify
from theory_experiments.numerics.summaries import line
from theory_experiments.numerics.vectors import kept, unflat
from theory_experiments.theorems.narrow_features.config import Config

__all__ = ["Departure", "Size", "departure", "growth", "simulate"]


@dataclasses.dataclass(frozen=True)
class Departure:
    """A flow that starts 1e-2 from a saddle along its direction of descent: component of Θ/ρ, and ρ², at records."""

    curvature: float
    component: Tensor
    squared_norm: Tensor


@dataclasses.dataclass(frozen=True)
class Size:
    """The flows of one (K, d), the KKT point near each end, and the flow that leaves the first saddle among them."""

    path: ulpm.Trajectory
    endings: tuple[Ending, ...]
    departure: Departure | None

    @property
    def best(self) -> float:
        """The least value of a proven minimum; nan if there is none."""
        return min((ending.value for ending in self.endings if ending.kind == "minimum"), default=math.nan)


def simulate(config: Config, work: Work) -> tuple[Size, ...]:
    """Compute the flows, test the points near their ends, and leave a saddle of each size that has one."""
    sizes = []
    for K, d in config.sizes:
        problem = ulpm.Problem([1] * K, d)
        work.tell(f"{config.starts} flows, K = {K}, d = {d}")
        start = problem.random_state(seed=config.seed, replicas=config.starts, device=config.device)
        path = work.flow(problem, start, log_time=config.log_time, records=80)
        end = path.final_state
        work.tell(f"second-order tests, K = {K}, d = {d}")
        endings = tuple(classify(problem, ulpm.State(W, H)) for W, H in zip(end.W, end.H, strict=True))
        saddle = next((ending for ending in endings if ending.kind == "saddle"), None)
        leaves = config.departures and saddle is not None
        sizes.append(Size(path, endings, departure(problem, saddle, config, work) if leaves and saddle else None))
    return tuple(sizes)


def departure(problem: ulpm.Problem, saddle: Ending, config: Config, work: Work) -> Departure:
    """The flow from near the saddle, with margins of 1e4, until ρ² has grown a hundredfold."""
    point = saddle.point * 1e2
    start = point + 1e-2 * point.norm() * saddle.direction
    path = work.flow(problem, unflat(problem, start), log_time=1e6, records=200, snapshots=200)
    states = kept(path)
    component = (states @ saddle.direction).abs() / states.norm(dim=1)
    return Departure(saddle.curvature, component, path.squared_norm)


def growth(departure: Departure) -> float:
    """d log(component)/d log(ρ²) by least squares, once the norm has grown by half; before that, margins settle."""
    late = departure.squared_norm > 1.5 * departure.squared_norm[0]
    return line(departure.squared_norm[late].log(), departure.component[late].log())[0]
