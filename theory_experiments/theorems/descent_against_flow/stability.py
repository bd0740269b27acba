"""How far a loss-scaled rate follows the flow: the limit of stability, and the norm at which a run departs."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

import ulpm
from theory_experiments.theorems.descent_against_flow.config import Config

__all__ = ["departures", "growth_between_records", "latest_departure", "threshold"]


def threshold(config: Config, rate: float) -> float:
    """The ρ² at which η·λ = 2."""
    K, N = len(config.counts), sum(config.counts)
    return config.threshold * 2 / rate * 2 * N * (K - 1) ** 2 / (K + math.sqrt(K * (K - 2)))


def latest_departure(rate: float, value: float) -> float:
    """ρ² over the limit of stability when a perturbation of the size of rounding has grown to 1."""
    excess, log_size = 1.0, math.log(torch.finfo(torch.float64).eps)
    while log_size < 0:
        excess *= 1 + 2 * rate / value
        log_size += math.log(2 * excess - 1)
    return excess


def departures(path: ulpm.Trajectory) -> Float[Tensor, " B"]:
    """ρ² at the first record whose stationarity residual is twice the smallest one before; inf if there is none."""
    stationarity = path.columns()["stationarity"]
    departed = stationarity > 2 * stationarity.cummin(0).values
    first = departed.int().argmax(0, keepdim=True)
    return torch.where(departed.any(0), path.squared_norm.gather(0, first)[0], torch.inf)


def growth_between_records(rate: float, path: ulpm.Trajectory) -> float:
    """The factor of ρ² between two records, which grows by 2η/v* a step."""
    steps = path.config["steps"] / (path.config["records"] - 1)
    return float((1 + 2 * rate / path.problem.minimum_norm_value) ** steps)
