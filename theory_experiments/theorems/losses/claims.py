"""The claims about losses: constants and frames of those without an end, the ends of the others."""

import math

import torch

import ulpm
from theory_experiments.harness.claim import Claim
from theory_experiments.numerics import rays
from theory_experiments.numerics.finite_ends import distances, fall, final_distances, last, rest_time, straightness
from theory_experiments.numerics.invariants import invariant_claims
from theory_experiments.numerics.summaries import greatest
from theory_experiments.theorems.losses.config import Config
from theory_experiments.theorems.losses.measurement import Data, Ending, constants, optimum

__all__ = ["check"]


def check(config: Config, data: Data) -> list[Claim]:
    """Conserved quantities, constants and frames of losses without an end, and the ends of the others."""
    every = [path for pair in data.endless.values() for path in pair]
    claims = invariant_claims(every, config.rtol) if every else []
    ending = [path for each in data.ending.values() for path in (each.path, each.small)]
    claims += invariant_claims(ending, config.ending_rtol, "losses with an end") if ending else []
    for gamma, paths in data.endless.items():
        claims += _endless_claims(config, gamma, paths)
    for name, each in data.ending.items():
        claims += _ending_claims(config, name, each)
    return claims


def _endless_claims(config: Config, gamma: float, paths: tuple[ulpm.Trajectory, ulpm.Trajectory]) -> list[Claim]:
    tail, v = rays.tail(gamma), optimum(config)
    log_time = float(paths[0].log_time[-1])
    q = torch.tensor([log_time / tail.kappa])
    shift = float(tail.shift(q.double().numpy(), config.classes, config.samples)[0])
    frozen = max(float(path.squared_norm[0].max()) for path in paths)
    norm = min(float(path.squared_norm[-1].min()) for path in paths)
    over = f"at log10 t = {config.log10_time:,.0f}, largest over the ray and {config.starts} random starts"
    ends = [[values[-1] for values in constants(config, gamma, path)] for path in paths]
    frames = ("nc2_etf_means", "nc2_etf_classifier_centered")
    return [
        Claim(
            f"{tail.name}: relative distance of L·t·log t from v*/(2κ) and of ρ²/log t from 2v*/κ, κ = {tail.kappa:g}, "
            f"{over}.",
            greatest(value.abs() for values in ends for value in values),
            "<=",
            2 * shift / log_time + 20 * config.rtol + frozen / (2 * v / tail.kappa * log_time),
            "twice the next term of the expansion, 20·rtol for the error of t·L, and the contribution of frozen "
            "parts to ρ²",
        ),
        Claim(
            f"{tail.name}: 1 − γ/γ*, and the distances of the means' and the centred classifier's Gram matrices from "
            f"that of a simplex, {over}.",
            greatest(
                [*(1 - p.margin_ratio[-1] for p in paths), *(p.metrics[name][-1] for p in paths for name in frames)]
            ),
            "<=",
            frozen / norm,
            "conserved parts have the size of the start, ρ(0)², and are compared with ρ²",
        ),
    ]


def _ending_claims(config: Config, name: str, ending: Ending) -> list[Claim]:
    over = f"largest over {config.starts} starts"
    both = (ending.path, ending.small)
    classifier, ratio = [], []
    for path in both:
        W = path.final_state.W.cpu()
        W = W - W.mean(-2, keepdim=True) if path.problem.loss.conserves_sums else W
        gram, ideal = W @ W.mT, torch.eye(config.classes, dtype=torch.float64)
        ideal = ideal - 1 / config.classes if path.problem.loss.conserves_sums else ideal
        size = torch.linalg.matrix_norm(gram)[..., None, None]
        classifier.append(torch.linalg.matrix_norm(gram / size - ideal / ideal.norm()))
        ratio.append(path.squared_norm[0].cpu() / last(path.squared_norm))
    distance, log_time = distances(ending.path, ending.target), ending.path.log_time.cpu()
    bends = []
    for b in range(config.starts):
        part = fall(distance[:, b], 1e-2, 1e-7)
        bend = [straightness(x[part, b], distance[part, b].log())[1] for x in (log_time.exp(), log_time)]
        bends.append(bend[1] / bend[0] if config.power_law else bend[0] / bend[1])
    lines = ("log t", "t") if config.power_law else ("t", "log t")
    return [
        Claim(
            f"{name}: log10 t at which the flow has converged, {over} of scales 1 and {config.small:g}.",
            greatest(rest_time(path) for path in both) / math.log(10),
            "<=",
            10.0,
            "rates are of order 1, so no distance remains at t = 100; the last steps of a stiff method are long; a "
            "power law would continue to the end time, t = 10^100",
        ),
        Claim(
            f"{name}: distance of any {'logit' if name == 'squared error' else 'centred logit'} from "
            f"{'the label' if name == 'squared error' else 'the simplex of margin log(1 + K(1 − α)/α)'}, {over} of "
            f"scales 1 and {config.small:g}.",
            greatest(final_distances(path, ending.target) for path in both),
            "<=",
            config.ending_rtol,
            "a flow has converged when its remaining distance is below the tolerance",
        ),
        Claim(
            f"{name}: distance of the classifier's Gram matrix from that of "
            f"{'an orthogonal frame' if name == 'squared error' else 'a simplex'}, over ρ(0)²/ρ², {over} of scales 1 "
            f"and {config.small:g}.",
            greatest(frame / r for frame, r in zip(classifier, ratio, strict=True)),
            "<=",
            1.0,
            "W H is ideal; the conserved WᵀW − HHᵀ, at most ρ(0)², keeps W away from its balanced factor",
        ),
        Claim(
            f"{name}: residual of a straight line against {lines[0]} for the log distance from the end, divided by "
            f"that of a line against {lines[1]}, {over}; distances from 10^−2 to 10^−7.",
            greatest(bends),
            "<=",
            0.5,
            "a sum of a few exponentials of similar rates is much straighter in t than in log t; a power law would "
            "have the inverse ratio, above 2",
        ),
    ]
