"""KKT tests of block points, and flows that start at them."""

import dataclasses
import math

import torch
from torch import Tensor

import ulpm
from theory_experiments.harness.work import Work
from theory_experiments.numerics.vectors import kept
from theory_experiments.theorems.suboptimal_kkt_points.config import Config
from theory_experiments.theorems.suboptimal_kkt_points.points import kkt_residual, partition_state, perturbed, turned

__all__ = ["Data", "Point", "moved", "simulate"]


@dataclasses.dataclass(frozen=True)
class Point:
    """The point of a partition: its value ½ρ²/q_min and the largest KKT residual with closed-form multipliers."""

    problem: ulpm.Problem
    value: float
    residual: float


@dataclasses.dataclass(frozen=True)
class Data:
    """The points of all partitions; for equal blocks certificates at all norms, and flows."""

    points: tuple[Point, ...]
    certificates: tuple[ulpm.Certificate, ...]
    paths: tuple[ulpm.Trajectory, ...]


def simulate(config: Config, work: Work) -> Data:
    """Test the points, then start flows at those with equal blocks."""
    generator = torch.Generator().manual_seed(config.seed)
    points, certificates, paths = [], [], []
    for partition in config.partitions:
        problem = ulpm.Problem([n for b, n in partition for _ in range(b)], sum(b for b, _ in partition))
        state = perturbed(partition_state(problem, partition, config.rescaled), config.perturbation, generator)
        q = float(ulpm.margin(problem, state))
        residual = kkt_residual(problem, partition, ulpm.State(state.W / math.sqrt(q), state.H / math.sqrt(q)))
        points.append(Point(problem, float(state.squared_norm) / (2 * q), residual))
    for K, b, n in config.equal:
        problem = ulpm.Problem([n] * K, K)
        for norm in config.norms:
            state = perturbed(ulpm.block_state(problem, b, norm), config.perturbation, generator)
            certificates.append(ulpm.certify(problem, state))
        work.tell(f"{config.starts} flows from block points, K = {K}, b = {b}, n = {n}")
        state = turned(ulpm.block_state(problem, b, 4.0), config.starts, generator)
        state = perturbed(state, config.perturbation, generator)
        state = ulpm.State(state.W.to(config.device), state.H.to(config.device))
        paths.append(work.flow(problem, state, log_time=config.log_time, records=60, snapshots=60))
    return Data(tuple(points), tuple(certificates), tuple(paths))


def moved(path: ulpm.Trajectory) -> Tensor:
    """‖Θ/ρ − Θ(0)/ρ(0)‖ at all records and starts."""
    states = kept(path)
    unit = states / states.norm(dim=2, keepdim=True)
    distance: Tensor = (unit - unit[0]).norm(dim=2)
    return distance
