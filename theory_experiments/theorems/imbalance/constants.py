"""The claims about sharp constants with unequal counts: of ρ², of the loss, and of nc1_pinv."""

import math

import torch
from jaxtyping import Float
from scipy.special import stdtrit
from torch import Tensor

from theory_experiments.harness.claim import Claim
from theory_experiments.numerics import seli
from theory_experiments.theorems.imbalance.config import Config
from theory_experiments.theorems.imbalance.measurement import Imbalance

__all__ = ["value_claims", "variability_claims"]


def value_claims(config: Config, one: Imbalance) -> list[Claim]:
    """The value of the relaxation, and the constants that depend on it."""
    path, v = one.path, _value(config, one)
    problem, end = path.problem, path.log_time[-1]
    K, N = problem.num_classes, problem.num_samples
    size = 2 * (math.log(config.log_time) + math.log((K - 1) * N) + N / v) / config.log_time
    correction = (
        "½ρ² = v*·(log(1/L) + S) + F, with S ≤ log((K − 1)N) the entropy of the multipliers, F the frozen parts, "
        "of the order of N, and log(1/L) = log t + log log t + O(1): twice (log log t + log((K − 1)N) + N/v*)/log t"
    )
    ends = f"at 1:{one.ratio} and log t = {config.log_time:g}, largest over {config.starts} starts"
    return [
        Claim(
            f"Value of the relaxation at 1:{one.ratio}, relative distance from v*.",
            abs(one.separation.value / v - 1),
            "<=",
            1e-9,
            "the solution is exact up to rounding, and its duality gap is below that",
        ),
        Claim(
            f"|ρ²/log t / (2v*) − 1| {ends}.",
            float((path.squared_norm[-1] / end / (2 * v) - 1).abs().max()),
            "<=",
            size,
            correction,
        ),
        Claim(
            f"|L·t·log t / (v*/2) − 1| {ends}.",
            float(((path.log_loss[-1] + end).exp() * end / (v / 2) - 1).abs().max()),
            "<=",
            size,
            "L = −d log L/dt · (…) follows ρ²: the same correction",
        ),
    ]


def variability_claims(config: Config, one: Imbalance) -> list[Claim]:
    """The exponent of nc1_pinv over the last decade of log t, with its confidence interval, and its constant."""
    path, first = one.path, config.log_time / 10
    late = path.log_time[:, 0] >= first
    slopes = _slopes(path.log_time[late].log(), path.metrics["nc1_pinv"][late].log())
    quantile = float(stdtrit(len(slopes) - 1, 0.975))
    spread = quantile * float(slopes.std()) / math.sqrt(len(slopes))
    ratio = path.metrics["nc1_pinv"][-1] * path.log_time[-1].square() / one.variability_constant
    return [
        Claim(
            f"Exponent of nc1_pinv in log t at 1:{one.ratio}, least squares over log t from {first:g} to "
            f"{config.log_time:g}: distance of the mean over {config.starts} starts from {config.exponent:g}, plus the "
            "half-width of its 95% confidence interval.",
            abs(float(slopes.mean()) - config.exponent) + spread,
            "<=",
            5 / math.sqrt(first),
            "the next order is smaller by a/√(log t), which changes the exponent by a/(2√(log t)): a up to 10",
        ),
        Claim(
            f"|nc1_pinv·(log t)² / its predicted limit − 1| at 1:{one.ratio} and log t = {config.log_time:g}, largest "
            f"over {config.starts} starts.",
            float((ratio - 1).abs().max()),
            "<=",
            10 / math.sqrt(config.log_time),
            "the same next order, a up to 10; the limit is computed from the frozen parts of each start's own state",
        ),
    ]


def _value(config: Config, one: Imbalance) -> float:
    """The claimed v*."""
    counts = one.path.problem.class_counts
    K = len(counts)
    if config.constant == "balanced":
        return (K - 1) * math.sqrt(sum(counts) / K)
    weighted = seli.centred(K) * torch.tensor(counts, dtype=torch.float64).sqrt()
    return float(torch.linalg.svdvals(weighted).sum())


def _slopes(x: Float[Tensor, "R B"], y: Float[Tensor, "R B"]) -> Float[Tensor, " B"]:
    """Least-squares slopes of y against x, one a column."""
    x = x - x.mean(0)
    return (x * y).sum(0) / x.square().sum(0)
