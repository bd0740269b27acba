"""Unequal counts: the direction of the end as the decay tends to zero."""

import dataclasses
import math

import torch
from jaxtyping import Float
from torch import Tensor

import ulpm
from theory_experiments.harness.claim import Claim
from theory_experiments.harness.work import Work
from theory_experiments.numerics import seli
from theory_experiments.numerics.summaries import greatest, line
from theory_experiments.theorems.weight_decay.config import Config
from theory_experiments.theorems.weight_decay.rest import to_rest

__all__ = ["Far", "far_claims", "far_end", "limit_constant"]


@dataclasses.dataclass(frozen=True)
class Far:
    """Unequal counts: distances of the directions of logits and of W Wᵀ from their limits, and the ends of flows.

    ``optimum`` and ``classifier`` are of ulpm.optimum, ``flows`` of the logits at the ends of flows. ``apart`` is the
    distance of these from the optimum's, relative to the largest.
    """

    decay: float
    optimum: float
    classifier: float
    flows: Float[Tensor, " B"]
    apart: float


def far_end(config: Config, work: Work, decay: float) -> Far:
    """See :class:`Far`."""
    work.tell(f"unequal counts at λ = {decay:g}")
    problem = ulpm.Problem(config.counts, 8, weight_decay=(decay, decay), reduction="mean")
    answer = ulpm.optimum(problem)
    best = seli.class_means(problem, answer.logits)
    end = to_rest(config, work, problem, config.followed, 8 - math.log10(decay)).final_state
    found = seli.class_means(problem, (end.W @ end.H).cpu())
    found, best = found - found.mean(-2, keepdim=True), best - best.mean(-2, keepdim=True)
    limit, frame = seli.centred(problem.num_classes), ulpm.seli_state(problem).W
    gram = frame @ frame.T if config.limit == "SELI" else limit
    W = answer.state.W if answer.state else torch.full_like(frame, math.nan)
    return Far(
        decay,
        float(seli.direction_distance(best, limit)),
        float(seli.direction_distance(W @ W.T, gram)),
        seli.direction_distance(found, limit),
        float((found - best).abs().max() / best.abs().max()),
    )


def limit_constant(config: Config) -> tuple[float, float]:
    """The limit of the logits' distance times log(1/(Nλ)), and the logits' shift of log(1/(Nλ)) along the limit."""
    problem = ulpm.Problem(config.counts, 8)
    separation = ulpm.minimum_norm_separation(problem)
    K, multipliers = problem.num_classes, seli.class_means(problem, separation.multipliers)
    off, optimal = ~torch.eye(K, dtype=torch.bool), seli.centred(K)
    gaps = torch.zeros(K, K, dtype=torch.float64)
    gaps[off] = multipliers[off].log()
    along = float(((gaps - gaps.mean(0)) * optimal).sum() / optimal.square().sum())
    return seli.logits_constant(problem, separation), along


def far_claims(config: Config, far: list[Far]) -> list[Claim]:
    """Flows end at the optimum, whose direction tends to SELI with the predicted constant and the exponent −1."""
    constant, along = limit_constant(config)
    least = min(far, key=lambda each: each.decay)
    decays = f"λ = {far[0].decay:g} … {far[-1].decay:g}"

    def logarithm(each: Far) -> float:
        return math.log(1 / (sum(config.counts) * each.decay))

    late = far[len(far) // 3 :]

    def exponent(values: list[float]) -> float:
        return line(torch.tensor([logarithm(each) for each in late]).log(), torch.tensor(values).log())[0]

    slopes = {
        "the logits' direction from that of SELI": exponent([each.optimum for each in late]),
        f"W Wᵀ from that of {'SELI' if config.limit == 'SELI' else 'a simplex'}": exponent(
            [e.classifier for e in late]
        ),
    }
    return [
        Claim(
            f"Counts {config.counts}: distance of any centred logit at the end of the flow from that of ulpm.optimum, "
            f"relative to the largest, largest over {config.followed} starts and {decays}.",
            greatest(each.apart for each in far),
            "<=",
            config.rtol,
            "a flow has converged when its remaining distance is below the tolerance of the run",
        ),
        Claim(
            f"Counts {config.counts}: distance of the logits' direction from that of SELI times log(1/(Nλ)), "
            f"divided by its predicted limit, distance from 1 at λ = {least.decay:g}.",
            abs(least.optimum * logarithm(least) / constant - 1),
            "<=",
            2 * abs(along) / logarithm(least),
            "twice the next term: the part of log λ* along the limit adds a constant to log(1/(Nλ))",
        ),
        *(
            Claim(
                f"Counts {config.counts}: exponent in log(1/(Nλ)) of the distance of {what}, distance from −1, "
                f"λ = {late[0].decay:g} … {late[-1].decay:g}.",
                abs(slope + 1),
                "<=",
                2 * abs(along) / logarithm(late[0]),
                "the exponent between two decays is wrong by the next term at most; twice that of the largest decay",
            )
            for what, slope in slopes.items()
        ),
    ]
