"""Where flows with weight decay end: closed forms for equal counts, with or without labels smoothed by α.

    p = α/K + c,   c = √(nλ_Wλ_H),   q = log[(1 − (K − 1)p)/p],   0 exactly if p ≥ 1/K
    ‖h‖² = q(K − 1)/(K√n)·√(λ_W/λ_H),   ‖w‖² = q(K − 1)√n/K·√(λ_H/λ_W)

for the mean loss + ½λ_W‖W‖² + ½λ_H‖H‖². At the end p is the probability of each wrong class.
"""

import dataclasses
import math
from collections.abc import Sequence

import torch

import ulpm
from theory_experiments.harness.claim import Claim
from theory_experiments.numerics.finite_ends import final_distances, last, rest_time
from theory_experiments.numerics.summaries import greatest

__all__ = ["Setting", "closed_margin", "end_claims", "end_error", "margin_rate"]


@dataclasses.dataclass(frozen=True)
class Setting:
    """Sizes; ``strength`` is Kc over the threshold 1 − α, and ``ratio`` is λ_W/λ_H."""

    classes: int
    samples: int
    dim: int
    strength: float
    ratio: float = 1.0
    smoothing: float = 0.0

    @property
    def decays(self) -> tuple[float, float]:
        """λ_W, λ_H."""
        mean = self.strength * (1 - self.smoothing) / (self.classes * math.sqrt(self.samples))
        return mean * math.sqrt(self.ratio), mean / math.sqrt(self.ratio)

    @property
    def problem(self) -> ulpm.Problem:
        """The mean loss with the decays."""
        counts, loss = [self.samples] * self.classes, ulpm.CrossEntropy(self.smoothing)
        return ulpm.Problem(counts, self.dim, loss=loss, weight_decay=self.decays, reduction="mean")


def closed_margin(problem: ulpm.Problem, sample_factor: float = 1.0, smoothing_factor: float = 1.0) -> float:
    """q. The factors, 1 in the theory, multiply n in c and α in p."""
    K, p = problem.num_classes, _wrong(problem, sample_factor, smoothing_factor)
    return math.log((1 - (K - 1) * p) / p) if K * p < 1 else 0.0


def margin_rate(problem: ulpm.Problem) -> float:
    """−d(dq/dt)/dq at the end of the collapsed ray, where all margins equal q, for λ_W = λ_H = λ.

    dq/dt = −2q φ′(q)/((K − 1)√n) − 2λq with the loss φ of a sample, φ″ = P(1 − P), P = (K − 1)p.
    """
    K, n = problem.num_classes, problem.class_counts[0]
    P = (K - 1) * _wrong(problem)
    return 2 * closed_margin(problem) * P * (1 - P) / ((K - 1) * math.sqrt(n))


def end_error(path: ulpm.Trajectory, q: float) -> float:
    """Largest error of a centred logit at the end, and of all ‖w_k‖², ‖h_i‖² relative to those of the margin q.

    For q = 0 both norms are relative to those at the start.
    """
    problem = path.problem
    K, n = problem.num_classes, problem.class_counts[0]
    W, H = path.final_state.W.cpu(), path.final_state.H.cpu()
    logits = final_distances(path, q * torch.eye(K, dtype=torch.float64))
    squares = [W.square().sum(-1), H.square().sum(-2)]
    if q == 0:
        start = path.squared_norm[0].cpu().amin()
        return greatest([logits, *(each.sum(-1) / start for each in squares)])
    λ_W, λ_H = problem.weight_decay
    ratio = math.sqrt(λ_H / λ_W)
    want = (q * (K - 1) * math.sqrt(n) / K * ratio, q * (K - 1) / (K * math.sqrt(n)) / ratio)
    return greatest([logits, *((got / size - 1).abs() for got, size in zip(squares, want, strict=True))])


def end_claims(
    paths: Sequence[ulpm.Trajectory], margins: Sequence[float], rtol: float, zero: str, over: str
) -> list[Claim]:
    """Flows converge to the closed form with these margins; ``zero`` is the condition for W = H = 0.

    The end time must be far beyond the inverse of the slowest rate.
    """
    errors: dict[bool, list[float]] = {}
    excess = []
    moving = sum(int(rest_time(path).isinf().sum()) for path in paths)
    for path, q in zip(paths, margins, strict=True):
        errors.setdefault(q > 0, []).append(end_error(path, q))
        best = ulpm.optimum(path.problem)
        excess.append((last(path.log_loss).exp() / best.value - 1).abs() - abs(best.duality_gap) / best.value)
    reason = "by the end only the tolerance of the run remains of the distance, relative to ρ"
    claims = [
        Claim(
            f"Flows that do not end with Status.CONVERGED, of {sum(rest_time(path).numel() for path in paths)}.",
            moving,
            "<=",
            0,
            "each has a minimum, and the end time is far beyond the inverse of the slowest rate",
        ),
        Claim(
            f"Relative distance of the objective at the end from ulpm.optimum, beyond the duality gap, {over}.",
            greatest(excess),
            "<=",
            10 * rtol**2,
            "values are quadratic in an error, which is at most the tolerance, with a reserve of 10",
        ),
    ]
    if True in errors:
        claims.append(
            Claim(
                f"Unless {zero}: error of any centred logit at the end, and relative error of any ‖w_k‖² and ‖h_i‖², "
                f"{over}.",
                greatest(errors[True]),
                "<=",
                rtol,
                reason,
            )
        )
    if False in errors:
        claims.append(
            Claim(
                f"If {zero}: any centred logit at the end, and ‖W‖² and ‖H‖² relative to ρ(0)², {over}.",
                greatest(errors[False]),
                "<=",
                rtol**2,
                f"{reason}, and squares are quadratic in it",
            )
        )
    return claims


def _wrong(problem: ulpm.Problem, sample_factor: float = 1.0, smoothing_factor: float = 1.0) -> float:
    λ_W, λ_H = problem.weight_decay
    smoothing = smoothing_factor * problem.loss.record()["label_smoothing"]
    c = math.sqrt(sample_factor * problem.class_counts[0]) * math.sqrt(λ_W) * math.sqrt(λ_H)
    return float(smoothing / problem.num_classes + c)
