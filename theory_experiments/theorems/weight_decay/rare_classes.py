"""Rare classes: whether their classifiers merge at the end."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

import ulpm
from theory_experiments.harness.claim import Claim
from theory_experiments.harness.work import Work
from theory_experiments.numerics.minority_curves import minority_cosine
from theory_experiments.numerics.summaries import greatest
from theory_experiments.theorems.weight_decay.config import Config
from theory_experiments.theorems.weight_decay.rest import to_rest

__all__ = ["rare_class_claims", "rare_cosines"]


def rare_cosines(config: Config, work: Work, R: int) -> tuple[float, Float[Tensor, " B"]]:
    """The cosine of two rare classes at the optimum and at ends of flows, for two frequent classes of R samples."""
    work.tell(f"rare classes at R = {R}")
    decays = (config.minority_decay, config.minority_decay)
    problem = ulpm.Problem([R, R, 1, 1], 4, weight_decay=decays, reduction="mean")
    best = ulpm.optimum(problem).state
    # The slowest rate, that of a direction which is about to merge, is 1e-3.
    found = to_rest(config, work, problem, config.starts, log10_time=8.0).final_state.W.cpu()
    return (
        float(minority_cosine(best.W, 2)) if best else math.nan,
        torch.stack([minority_cosine(W, 2) for W in found]),
    )


def rare_class_claims(config: Config, found: dict[int, tuple[float, Float[Tensor, " B"]]]) -> list[Claim]:
    """Classifiers merge on the right side of R₀, and flows end at the optimum. ``found`` are cosines by R."""
    # √n_B = 1, K_A = K_B = 2.
    threshold = config.threshold_factor * (1 / config.minority_decay - 2) / 2
    flows = torch.stack([cosines for _, cosines in found.values()])
    best = torch.tensor([cosine for cosine, _ in found.values()], dtype=torch.float64)[:, None]
    beyond = torch.tensor([threshold <= R for R in found])[:, None]
    wrong = ((flows > 1 - 1e-6) != beyond).sum() + ((best > 1 - 1e-6) != beyond).sum()
    return [
        Claim(
            f"Number of ends of flows and optima on the wrong side of R₀ = {threshold:g}, over R = "
            f"{', '.join(map(str, found))} and {config.starts} starts: classifiers of two rare classes merged below "
            "it or apart beyond it.",
            float(wrong),
            "<=",
            0,
            "the criterion is exact, and no R is within 4% of it",
        ),
        Claim(
            "Distance of the cosine of two rare classes at the end of the flow from that of ulpm.optimum, largest.",
            greatest((flows - best).abs()),
            "<=",
            config.rtol,
            "a flow has converged when its remaining distance is below the tolerance of the run",
        ),
    ]
