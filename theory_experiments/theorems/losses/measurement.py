"""The flow of every loss, and its constants divided by their predictions."""

import dataclasses
import math

import torch
from jaxtyping import Float
from torch import Tensor

import ulpm
from theory_experiments.harness.work import Work
from theory_experiments.numerics import rays
from theory_experiments.theorems.losses.config import Config

__all__ = ["Data", "Ending", "constants", "optimum", "simulate"]


@dataclasses.dataclass(frozen=True)
class Ending:
    """Runs of a loss with a finite end: from starts of scale 1 with states at all records, and from small starts."""

    path: ulpm.Trajectory
    small: ulpm.Trajectory
    target: Float[Tensor, "K K"]


@dataclasses.dataclass(frozen=True)
class Data:
    """``endless`` runs by γ: from the collapsed ray (a single replica) and from random starts."""

    endless: dict[float, tuple[ulpm.Trajectory, ulpm.Trajectory]]
    ending: dict[str, Ending]


def simulate(config: Config, work: Work) -> Data:
    """The flow of every loss."""
    endless, ending = {}, {}
    for gamma in config.gammas:
        problem = _problem(config, ulpm.Focal(gamma) if gamma else ulpm.CrossEntropy())
        work.tell(f"{rays.tail(gamma).name} to t = 10^{config.log10_time:,.0f}")
        ray = ulpm.collapsed_state(problem, norm=math.sqrt(2 * problem.minimum_norm_value)).to(config.device)
        settings = {"log10_time": config.log10_time, "rtol": config.rtol, "records": 60}
        endless[gamma] = work.flow(problem, ray, **settings), work.flow(problem, _start(config, problem), **settings)
    for name in config.ending:
        work.tell(f"{name} to the end")
        smoothed = name == "smoothed labels"
        problem = _problem(config, ulpm.CrossEntropy(config.smoothing) if smoothed else ulpm.SquaredError())
        settings = {"log10_time": 100.0, "rtol": config.ending_rtol}
        path = work.flow(problem, _start(config, problem), records=200, snapshots=200, **settings)
        small = work.flow(problem, _start(config, problem, config.small), records=2, **settings)
        ending[name] = Ending(path, small, _target(config, name))
    return Data(endless, ending)


def constants(config: Config, gamma: float, path: ulpm.Trajectory) -> tuple[Tensor, Tensor]:
    """Relative distances of L·t·log t from v*/(2κ) and of ρ²/log t from 2v*/κ."""
    v, kappa, log_time = optimum(config), 1.0 if config.kappa_is_one else 1 + gamma, path.log_time
    loss = torch.exp(path.log_loss + log_time) * log_time / (v / (2 * kappa)) - 1
    return loss.cpu(), (path.squared_norm / log_time / (2 * v / kappa) - 1).cpu()


def optimum(config: Config) -> float:
    """v*, or the value claimed by a negative control."""
    return (config.classes - (config.value == "(K-1)√n")) * math.sqrt(config.samples)


def _problem(config: Config, loss: ulpm.CrossEntropy | ulpm.Focal | ulpm.SquaredError) -> ulpm.Problem:
    return ulpm.Problem([config.samples] * config.classes, config.dim, loss=loss)


def _start(config: Config, problem: ulpm.Problem, scale: float = 1.0) -> ulpm.State:
    return problem.random_state(config.seed, scale, replicas=config.starts, device=config.device)


def _target(config: Config, name: str) -> Float[Tensor, "K K"]:
    K, unit = config.classes, torch.eye(config.classes, dtype=torch.float64)
    if name == "squared error":
        return unit - 1 / K if config.end_frame == "simplex" else unit
    return unit * math.log(1 + config.end_factor * K * (1 - config.smoothing) / config.smoothing)
