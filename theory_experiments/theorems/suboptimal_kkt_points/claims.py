"""The claims about block points: KKT conditions, values, and flows that stay there."""

import math

import torch

from theory_experiments.harness.claim import Claim
from theory_experiments.numerics.invariants import invariant_claims
from theory_experiments.numerics.summaries import greatest
from theory_experiments.theorems.suboptimal_kkt_points.config import Config
from theory_experiments.theorems.suboptimal_kkt_points.measurement import Data, moved
from theory_experiments.theorems.suboptimal_kkt_points.points import unsplit_value

__all__ = ["check"]


def check(config: Config, data: Data) -> list[Claim]:
    """Invariants of the flows; the points; that they are critical at finite norm; that flows stay there."""
    over = f"over {len(data.paths)} problems and {config.starts} rotated copies each"
    partitions = f"over {len(data.points)} partitions"
    counts = [torch.tensor(point.problem.class_counts, dtype=torch.float64) for point in data.points]
    above = [
        (point.value - point.problem.minimum_norm_value) / math.sqrt(float(n.min()))
        for point, n in zip(data.points, counts, strict=True)
    ]
    norms = f"over {len(config.equal)} equal partitions and norms up to {max(config.norms):g}"
    return [
        *invariant_claims(data.paths),
        Claim(
            "KKT residuals (stationarity, feasibility, slackness) with the multipliers in closed form: largest "
            f"{partitions}",
            greatest([point.residual for point in data.points]),
            "<=",
            1e-12,
            "an equality, computed in a few thousand roundings of 1e-16",
        ),
        Claim(
            f"½ρ²/q_min divided by Σ √n_k, distance from 1: largest {partitions}",
            greatest([abs(p.value / float(n.sqrt().sum()) - 1) for p, n in zip(data.points, counts, strict=True)]),
            "<=",
            1e-12,
            "an equality, computed in a few thousand roundings of 1e-16",
        ),
        Claim(
            f"(½ρ²/q_min − v*)/√n_min, with the optimum v* in closed form: least {partitions}",
            -greatest([-x for x in above]),
            ">=",
            1 - 1e-9,
            "v* = ‖(I − 11ᵀ/K) diag(√n_k)‖_* ≤ Σ √n_k − √n_min, as a projection raises no singular value and takes "
            "one to 0; an equality for equal counts",
        ),
        Claim(
            f"Stationarity residual sin ∠(Θ, −∇L) with softmax multipliers: largest {norms}",
            greatest([float(certificate.stationarity) for certificate in data.certificates]),
            "<=",
            1e-12,
            "an equality at every norm, computed in a few thousand roundings of 1e-16",
        ),
        Claim(
            f"Distance of Θ/ρ from its start at any record up to log t = {config.log_time:g}: largest {over}",
            max(float(moved(path).max()) for path in data.paths),
            "<=",
            1e-5,
            "the exact flow never moves; an explicit step may let errors in stiff directions grow to its tolerance "
            "of 1e-6 before they decay again; ten of these may add up",
        ),
        Claim(
            f"Distance of Θ/ρ from its start at log t = {config.log_time:g}: largest {over}",
            max(float(moved(path)[-1].max()) for path in data.paths),
            "<=",
            1e-9,
            "rounding errors of 1e-16 in each of some 1e3 steps remain; they are amplified by at most (log "
            "t)^(b/(2(K − b))) ≤ (log t)^(1/2) ≤ 1e3 (see escape): 1e-10",
        ),
        Claim(
            f"½ρ²/q_min divided by K√n, distance from 1, at log t = {config.log_time:g}: largest {over}",
            max(
                float((path.columns()["upper_bound"][-1] / unsplit_value(path.problem) - 1).abs().max())
                for path in data.paths
            ),
            "<=",
            1e-8,
            "the value depends on the direction alone, with a derivative of order 1",
        ),
    ]
