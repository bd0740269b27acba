"""The collapsed ray: runs of the flow compared with the closed form."""

import dataclasses
import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

import ulpm
from theory_experiments.harness.claim import Claim
from theory_experiments.harness.work import Work
from theory_experiments.numerics import rays
from theory_experiments.numerics.summaries import greatest
from theory_experiments.theorems.solved_flows.config import Config

__all__ = ["Ray", "ray_claims", "run_ray"]


@dataclasses.dataclass(frozen=True)
class Ray:
    """A run from collapsed starts: their margins at t = 0, and those of the closed form at the records."""

    path: ulpm.Trajectory
    rtol: float
    exact_margin: Float[np.ndarray, "R B"]

    @property
    def margin(self) -> Float[np.ndarray, "R B"]:
        """q = ρ²/(2v*), in which deviations of single margins cancel."""
        return (self.path.squared_norm / (2 * self.path.problem.minimum_norm_value)).numpy(force=True)

    @property
    def since(self) -> int:
        """The first record with t ≥ 100."""
        return int((self.path.log_time.amin(1) < math.log(100)).sum())

    def errors(self) -> dict[str, Float[np.ndarray, "R B"]]:
        """Relative errors of q and of log L against the closed form."""
        K, n = self.path.problem.num_classes, self.path.problem.class_counts[0]
        log_loss = math.log(n * K) + rays.CROSS_ENTROPY.log_loss(self.exact_margin, K)
        return {
            "q": np.abs(self.margin / self.exact_margin - 1),
            "log L": np.abs(self.path.log_loss.numpy(force=True) / log_loss - 1),
        }


def run_ray(config: Config, work: Work, sizes: tuple[int, int, int], rtol: float) -> Ray:
    """The flow from collapsed starts of all sizes q₀, and its closed form."""
    K, n, d = sizes
    problem, q0 = ulpm.Problem([n] * K, d), _margins_at_start(config)
    one = ulpm.collapsed_state(problem, norm=math.sqrt(2 * problem.minimum_norm_value))
    root = q0.sqrt()[:, None, None]
    start = ulpm.State(one.W * root, one.H * root)
    if config.noise:
        noise = problem.random_state(config.seed, replicas=config.starts)
        size = config.noise * (start.squared_norm / noise.squared_norm).sqrt()[:, None, None]
        start = ulpm.State(start.W + size * noise.W, start.H + size * noise.H)
    start = ulpm.State(start.W.to(config.device), start.H.to(config.device))
    path = work.flow(problem, start, log10_time=config.log10_time, rtol=rtol, records=config.records)
    log_time = path.log_time.numpy(force=True)
    exact = np.broadcast_to(q0.numpy(), log_time.shape).copy()
    moved = np.isfinite(log_time)
    # A wrong factor of t shifts log t.
    shifted = log_time[moved] + math.log(config.time_factor / 2)
    exact[moved] = rays.cross_entropy_margin(shifted, exact[moved], K, n)
    return Ray(path, rtol, exact)


def _margins_at_start(config: Config) -> Float[Tensor, " B"]:
    """Margins q₀ from 0.05 to 10, equidistant in their logarithm."""
    return torch.logspace(math.log10(0.05), 1, config.starts, dtype=torch.float64)


def ray_claims(config: Config, runs: list[Ray]) -> list[Claim]:
    """Runs agree with the closed form, and its constants are those of the late flow."""
    claims = []
    for rtol in config.ray_rtols if runs else ():
        own = [each for each in runs if each.rtol == rtol]
        sizes = ", ".join(str(each.path.problem.num_classes) for each in own)
        over = f"largest over {config.starts} starts with q₀ from 0.05 to 10 and K = {sizes}"
        for name in ("q", "log L"):
            errors = [each.errors()[name] for each in own]
            late = [error[each.since :] for each, error in zip(own, errors, strict=True)]
            claims.append(
                Claim(
                    f"Collapsed ray: relative error of {name} at rtol = {rtol:g} at all records with t ≥ 100, {over}.",
                    greatest(torch.from_numpy(error) for error in late),
                    "<=",
                    max(rtol, 5e-9),
                    "q is attracting: the error of a step, at most rtol, fades before many others add to it; at "
                    "rtol = 1e-9 the same time takes ten times as many steps, and 5·rtol allows for their sum",
                )
            )
            end = greatest(torch.from_numpy(error[-1]) for error in errors)
            claims.append(
                Claim(
                    f"Collapsed ray: relative error of {name} at rtol = {rtol:g} at "
                    f"log10 t = {config.log10_time:,.0f}, {over}.",
                    end,
                    "<=",
                    max(1e-5 * rtol, 1e-13),
                    "late, q = log t + log log t + …; an error of 20·rtol in the clock t·L is the same error in q, "
                    "and is divided by q = 2·10^6; the end of a run is reached to 1e-13",
                )
            )
    if runs:
        claims += _late_claims(config, runs)
    return claims


def _late_claims(config: Config, runs: list[Ray]) -> list[Claim]:
    """The constants of the flow, from its own log L and ρ² at the finest tolerance."""
    third, excess = [], []
    rtol = min(config.ray_rtols)
    for each in [each for each in runs if each.rtol == rtol]:
        problem = each.path.problem
        K, n, v = problem.num_classes, problem.class_counts[0], problem.minimum_norm_value
        late = each.path.log_time.amin(1).cpu() >= 100 * math.log(10)
        log_time, log_loss, q = (
            values[late.numpy()]
            for values in (each.path.log_time.numpy(force=True), each.path.log_loss.numpy(force=True), each.margin)
        )
        shift = rays.CROSS_ENTROPY.shift(q, K, n)
        loss, next_of_loss = np.exp(log_loss + log_time) * log_time / (v / 2) - 1, (1 - shift) / q
        norm, next_of_norm = q / log_time - 1, shift / log_time
        early = log_time <= 1000 * math.log(10)
        for distance, term in ((loss, next_of_loss), (norm, next_of_norm)):
            third.append((np.abs(distance - term) * (q / shift) ** 2)[early].max())
            excess.append((np.abs(distance[-1]) - 2 * np.abs(term[-1])).max())
    return [
        Claim(
            "Collapsed ray: difference of the relative distances of L·t·log t from v*/2 and of ρ²/log t from 2v* "
            "from the next term, in units of (log q/q)² with its constants, largest over t from 10^100 to 10^1000, "
            f"{config.starts} starts and all K.",
            greatest(third),
            "<=",
            2.0,
            "the term after the next is of that order, with coefficients below 2",
        ),
        Claim(
            "Collapsed ray: relative distance of L·t·log t from v*/2 and of ρ²/log t from 2v* at log10 t = "
            f"{config.log10_time:,.0f}, minus twice the next term, largest over {config.starts} starts and all K.",
            greatest(excess),
            "<=",
            20 * rtol,
            "the distance is the next term, of order log q/q, up to the error 20·rtol of log L",
        ),
    ]
