"""Block points of any partition: states, KKT residuals, and rotated or perturbed copies."""

import math

import torch
from torch import Tensor

import ulpm
from theory_experiments.theorems.suboptimal_kkt_points.config import Partition

__all__ = ["kkt_residual", "partition_state", "perturbed", "turned", "unsplit_value"]


def partition_state(problem: ulpm.Problem, partition: Partition, rescaled: bool = True) -> ulpm.State:
    """The block point of the package's docstring; without s_k if not ``rescaled``."""
    frames, factors = [], []
    for b, _ in partition:
        frames.append(ulpm.simplex_etf(b, b - 1) * math.sqrt((b - 1) / b))
        factors += [math.sqrt(b / (b - 1)) if rescaled else 1.0] * b
    rows: Tensor = torch.block_diag(*frames)  # type: ignore[no-untyped-call]
    rows = rows * torch.tensor(factors, dtype=torch.float64)[:, None]
    rows = torch.nn.functional.pad(rows, (0, problem.feature_dim - rows.shape[1]))
    roots = torch.tensor(problem.class_counts, dtype=torch.float64).pow(0.25)[:, None]
    return ulpm.State(rows * roots, (rows / roots)[problem.labels].T.contiguous())


def kkt_residual(problem: ulpm.Problem, partition: Partition, state: ulpm.State) -> float:
    """The largest of ‖Θ − Σ λ ∇q‖/‖Θ‖, 1 − q_{ij} and λ_{ij}|q_{ij} − 1|/max λ, with λ in closed form."""
    y, K = problem.labels, problem.num_classes
    sizes = torch.tensor([b for b, _ in partition for _ in range(b)], dtype=torch.float64)
    block = torch.repeat_interleave(torch.arange(len(partition)), torch.tensor([b for b, _ in partition]))
    multipliers = 1 / ((K - sizes) * torch.tensor(problem.class_counts, dtype=torch.float64).sqrt())[y]
    multipliers = torch.where(block[:, None] != block[y], multipliers, 0.0)  # [K, N]
    G = -multipliers
    G[y, range(len(y))] = multipliers.sum(0)
    Z = state.W @ state.H
    slack = Z[y, range(len(y))] - Z - 1
    slack[y, range(len(y))] = 0.0
    parts = torch.cat([(state.W - G @ state.H.T).flatten(), (state.H - state.W.T @ G).flatten()])
    stationarity = parts.norm() / state.squared_norm.sqrt()
    complementarity = (multipliers * slack.abs()).max() / multipliers.max()
    return float(torch.stack([stationarity, -slack.min(), complementarity]).max())


def unsplit_value(problem: ulpm.Problem) -> float:
    """Σ √n_k."""
    return sum(math.sqrt(n) for n in problem.class_counts)


def turned(state: ulpm.State, copies: int, generator: torch.Generator) -> ulpm.State:
    """``copies`` of a state in coordinates rotated at random: exact zeros become rounding errors."""
    d = state.W.shape[1]
    Q = torch.linalg.qr(torch.randn(copies, d, d, generator=generator, dtype=torch.float64)).Q
    return ulpm.State(state.W @ Q, Q.mT @ state.H)


def perturbed(state: ulpm.State, size: float, generator: torch.Generator) -> ulpm.State:
    """The state plus Gaussian noise of about ``size`` times its norm, the same for all replicas."""
    noise = size * math.sqrt(float(state.squared_norm.max()) / (state.W[..., 0].shape[-1] + state.H.shape[-1]))
    W, H = (torch.randn(x.shape[-2:], generator=generator, dtype=x.dtype) for x in (state.W, state.H))
    spread = noise / math.sqrt(state.W.shape[-1])
    return ulpm.State(state.W + spread * W, state.H + spread * H)
