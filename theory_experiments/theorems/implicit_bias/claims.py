"""The claims about the implicit bias: monotone smoothed margin, growth, and both KKT residuals."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

import ulpm
from theory_experiments.harness.claim import Claim
from theory_experiments.numerics.invariants import invariant_claims
from theory_experiments.theorems.implicit_bias.config import Config
from theory_experiments.theorems.implicit_bias.measurement import Data, separated, slack_bound, smoothed_margin

__all__ = ["check"]


def check(config: Config, data: Data) -> list[Claim]:
    """The invariants, monotonicity, growth, and both KKT residuals, over all problems."""
    every = f"over {config.starts} starts of {len(data.paths)} problems"
    ends = [_end(path) for path in data.paths]
    return [
        *invariant_claims(data.paths, config.rtol),
        Claim(
            f"Share of runs that reach L < log 2, {every}.",
            min(float(separated(path)[-1].double().mean()) for path in data.paths),
            ">=",
            1.0,
            "this is the hypothesis of the theorem",
        ),
        Claim(
            "Change of the smoothed margin from one record to the next, relative to its value at the end, least "
            f"{every} and all records {'from the start' if config.from_the_start else 'with L < log 2'}.",
            min(_least_change(config, path) for path in data.paths),
            ">=",
            -config.rtol,
            "the theorem allows no decrease; a decrease within rtol may be the error of a step",
        ),
        Claim(
            f"log(L·t) at the end, largest {every}.",
            max(float(end["log_loss"].max() + end["log_time"].max()) for end in ends),
            "<=",
            0.0,
            "L is of order 1/(t log t), so L·t tends to 0; its constant is v*/2, so L·t is below 1 once log t > v*/2",
        ),
        Claim(
            f"Smoothed margin times twice the certified lower bound of the optimum, largest {every} and all records.",
            max(
                float((smoothed_margin(config, path) * 2 * path.columns()["lower_bound"]).max()) for path in data.paths
            ),
            "<=",
            1 + 1e-9,
            "no point has a margin above ρ²/(2v*), and L ≥ log(1 + e^(−q_min)); with L → 0 this forces ρ → ∞",
        ),
        Claim(
            f"ρ²/log t at the end, divided by twice the certified lower bound, least {every}.",
            min(float((end["squared_norm"] / end["log_time"] / 2 / end["lower_bound"]).min()) for end in ends),
            ">=",
            1.0,
            "the two claims before this one: ρ² ≥ 2v·log(1/L) and log(1/L) ≥ log t",
        ),
        Claim(
            f"Stationarity residual at the end times ρ/ρ(0), largest {every}.",
            max(_stationarity_over_bound(path) for path in data.paths),
            "<=",
            1.0,
            "only what the flow leaves frozen does not grow with ρ, and that is at most the whole start",
        ),
        Claim(
            f"Complementary slackness times q_min, divided by its bound 2N(K−1)/e, largest {every}, records with L "
            "< log 2.",
            max(_slack_over_bound(path) for path in data.paths),
            "<=",
            1.0,
            "Σ p(q − q_min)/Σ p has at most N(K−1) terms x·e^(−x) ≤ 1/e in the numerator and one term 1 in the "
            "denominator; probabilities equal e^(−q) up to a factor between ½ and 1",
        ),
    ]


def _least_change(config: Config, path: ulpm.Trajectory) -> float:
    smoothed = smoothed_margin(config, path)
    change = smoothed.diff(dim=0) / smoothed[-1].abs()
    claimed = torch.ones_like(change, dtype=torch.bool) if config.from_the_start else separated(path)[:-1]
    return float(change[claimed].min()) if bool(claimed.any()) else math.nan


def _slack_over_bound(path: ulpm.Trajectory) -> float:
    slack = torch.where(separated(path), path.columns()["complementarity"] * path.margin, 0.0)
    return float(slack.max()) / slack_bound(path.problem)


def _stationarity_over_bound(path: ulpm.Trajectory) -> float:
    return float((path.columns()["stationarity"] * (path.squared_norm / path.squared_norm[0]).sqrt())[-1].max())


def _end(path: ulpm.Trajectory) -> dict[str, Float[Tensor, " *batch"]]:
    return {name: values[-1] for name, values in path.columns().items()}
