"""The flow at each imbalance, with the predictions of the SELI geometry."""

import dataclasses

from jaxtyping import Float
from torch import Tensor

import ulpm
from theory_experiments.harness.work import Work
from theory_experiments.numerics import seli
from theory_experiments.theorems.imbalance.config import Config

__all__ = ["Data", "Imbalance", "simulate"]


@dataclasses.dataclass(frozen=True)
class Imbalance:
    """The flow at one imbalance, its predictions, and the observed values, [R, B]: records and starts."""

    ratio: int
    path: ulpm.Trajectory
    separation: ulpm.Separation
    logits_constant: float
    variability_constant: Float[Tensor, " B"]
    limits: dict[str, float]
    logits_distance: Float[Tensor, "R B"]
    gram_distance: Float[Tensor, " B"]


Data = list[Imbalance]


def simulate(config: Config, work: Work) -> Data:
    """The flow from random starts at each imbalance."""
    found = []
    for ratio in config.ratios:
        work.tell(f"the flow at 1:{ratio} to log t = {config.log_time:g} from {config.starts} starts")
        counts = [ratio * config.minority_count] * config.majority + [config.minority_count] * config.minority
        problem = ulpm.Problem(counts, config.feature_dim)
        start = problem.random_state(config.seed, replicas=config.starts, device=config.device)
        path = work.flow(
            problem, start, log_time=config.log_time, rtol=config.rtol, records=config.records, snapshots=config.records
        )
        found.append(_observed(config, ratio, path))
    return found


def _observed(config: Config, ratio: int, path: ulpm.Trajectory) -> Imbalance:
    problem, final = path.problem, path.final_state
    # If d is too small, the prediction ignores this: the claim must fail.
    roomy = ulpm.Problem(problem.class_counts, max(problem.feature_dim, problem.num_classes - 1))
    separation = ulpm.minimum_norm_separation(roomy)
    assert path.snapshots is not None
    logits = path.snapshots.W @ seli.class_means(problem, path.snapshots.H)
    logits = (logits - logits.mean(-2, keepdim=True)).cpu()
    W = final.W.cpu()
    ideal = seli.centred(problem.num_classes)
    if config.geometry == "SELI":
        W_ideal = ulpm.seli_state(roomy).W
        ideal_gram, limits = W_ideal @ W_ideal.T, seli.seli_metrics(roomy)
    else:
        ideal_gram, limits = ideal, {"nc3_difference": 0.0}
    return Imbalance(
        ratio,
        path,
        separation,
        seli.logits_constant(roomy, separation),
        seli.variability_constant(problem, ulpm.State(W, final.H.cpu())),
        limits,
        seli.direction_distance(logits, ideal),
        seli.direction_distance(W @ W.mT, ideal_gram),
    )
