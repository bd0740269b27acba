"""The claims about smoothed labels: ends, their independence of the start, and rates."""

import torch

import ulpm
from theory_experiments.harness.claim import Claim
from theory_experiments.numerics.decayed_ends import closed_margin, end_claims, margin_rate
from theory_experiments.numerics.finite_ends import fall, final_distances, last
from theory_experiments.numerics.invariants import invariant_claims
from theory_experiments.numerics.summaries import greatest
from theory_experiments.theorems.label_smoothing.config import SIZE, Config
from theory_experiments.theorems.label_smoothing.measurement import Approach, Data

__all__ = ["check"]


def check(config: Config, data: Data) -> list[Claim]:
    """Invariants, the ends, their independence of the start, and rates."""
    claims = invariant_claims(data.ends, config.rtol, "the flows with decay") if data.ends else []
    claims += invariant_claims(data.free, config.rtol, "the flows without decay") if data.free else []
    if data.ends:
        margins = [closed_margin(path.problem, 1.0, config.smoothing_factor) for path in data.ends]
        over = f"largest over {config.starts} random starts and {len(data.ends)} settings"
        claims += end_claims(data.ends, margins, config.rtol, "Kc ≥ 1 − α", over)
    claims += _free_claims(config, data.free) if data.free else []
    rays = [_on_ray(path) for pair in data.rays for path in pair]
    if data.approaches or rays:
        claims.append(
            Claim(
                "Rate at which the logits approach their end, from a start moved along the slowest mode or on the "
                f"ray, relative distance from the predicted rate, largest over {len(data.approaches) + len(rays)} "
                "runs.",
                greatest(abs(each.fitted / each.rate - 1) for each in [*data.approaches, *rays]),
                "<=",
                0.01,
                "the start is moved by 0.001 of ρ, and distances up to 0.1 of that change the rate by at most as "
                "much; the rest is the error of steps",
            )
        )
    return claims + (_ray_claims(data) if data.rays else [])


def _free_claims(config: Config, free: list[ulpm.Trajectory]) -> list[Claim]:
    K, over = SIZE[0], f"over {config.starts} starts, scales {config.scales} and α = {config.smoothings}"
    errors = []
    for path in free:
        q = closed_margin(path.problem, 1.0, config.smoothing_factor)
        errors.append(final_distances(path, q * torch.eye(K, dtype=torch.float64)))
    frames = torch.stack([last(path.metrics["nc2_etf_means"]) for path in free])
    return [
        Claim(
            f"Without decay: distance of any centred logit at the end from the simplex of margin log(1 + K(1 − α)/α), "
            f"largest {over}.",
            greatest(errors),
            "<=",
            config.rtol,
            "a flow has converged when its remaining distance is below the tolerance of the run",
        ),
        Claim(
            f"Without decay: distance of the class means' Gram matrix from that of a simplex, largest {over}.",
            greatest(frames),
            ">=",
            0.01,
            "the end depends on the start: WᵀW − HHᵀ is conserved, and at scale 1 it is a tenth of ρ² or more",
        ),
    ]


def _ray_claims(data: Data) -> list[Claim]:
    margins = [float(last(smoothed.margin) / last(plain.margin)) for plain, smoothed in data.rays]
    rates = [_on_ray(smoothed).fitted / _on_ray(plain).fitted for plain, smoothed in data.rays]
    over = f"over {len(data.rays)} decays and α"
    return [
        Claim(
            f"Equal decay: margin at the end with smoothed labels, divided by that with plain labels, largest {over}.",
            greatest(margins),
            "<=",
            1.0,
            "p = α/K + c is larger than c",
        ),
        Claim(
            f"Equal decay: rate on the ray with smoothed labels, divided by that with plain labels, least {over}.",
            min(rates),
            ">=",
            1.0,
            "the rate is 2qP(1 − P)/((K − 1)√n), and P grows faster than q falls",
        ),
    ]


def _on_ray(path: ulpm.Trajectory) -> Approach:
    """The margin on the ray, from the time when it is within 1% of the end."""
    q = closed_margin(path.problem)
    distance = (path.margin.cpu() / q - 1).abs()
    part = slice(fall(distance, 0.01, 0.0).start, None)
    return Approach("ray", path.log_time[part].exp().cpu(), distance[part], margin_rate(path.problem))
