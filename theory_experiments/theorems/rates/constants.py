"""The sharp constants along a run, with their next terms."""

import math

import torch
from torch import Tensor

import ulpm
from theory_experiments.numerics.late_laws import loss_correction, norm_correction
from theory_experiments.theorems.rates.config import Config

__all__ = ["constants", "optimum"]


def optimum(config: Config, path: ulpm.Trajectory) -> float:
    """v*, or the value claimed by a negative control."""
    problem = path.problem
    if not problem.balanced:
        return problem.minimum_norm_value
    K, n = problem.num_classes, problem.class_counts[0]
    return {"(K-1)√n": (K - 1) * math.sqrt(n), "K√n": K * math.sqrt(n), "(K-1)n": (K - 1.0) * n}[config.constant]


def constants(config: Config, path: ulpm.Trajectory) -> list[tuple[str, Tensor, Tensor]]:
    """Each constant: its name, relative distance from its limit, and the predicted next term of this distance."""
    v, log_time = optimum(config, path), path.log_time
    loss = torch.exp(path.log_loss + log_time) * log_time / (v / 2) - 1
    norm = path.squared_norm / log_time / (2 * v) - 1
    return [
        ("L·t·log t from v*/2", loss, loss_correction(path, v)),
        ("ρ²/log t from 2v*", norm, norm_correction(path, v)),
    ]
