"""The optima of the three models at every ratio, and where descent from random starts ends."""

import dataclasses
import functools
import math

import torch
from jaxtyping import Float
from torch import Tensor

import ulpm
from theory_experiments.harness.work import Work
from theory_experiments.numerics.local_search import constrained_objective, descend, regularised_objective
from theory_experiments.numerics.minority_curves import Curve, layer_peeled_curve, margin_curve, minority_cosine
from theory_experiments.theorems.minority_collapse.config import MODELS, Config

__all__ = ["Data", "Search", "simulate"]


@dataclasses.dataclass(frozen=True)
class Search:
    """Ends of descent, [S, B] for the searched ratios and the starts: value over optimum − 1, and least cosine."""

    excess: Float[Tensor, "S B"]
    cosines: Float[Tensor, "S B"]


@dataclasses.dataclass(frozen=True)
class Data:
    """Optima and ends of descent of the models (a) and (b), and the optima of (c)."""

    curves: dict[str, Curve]
    searches: dict[str, Search]
    margin_problem: Curve


def simulate(config: Config, work: Work) -> Data:
    """Solve the three models at every ratio; descend in (a) and (b) from random starts at some."""
    optima: dict[str, list[ulpm.LayerPeeledOptimum]] = {name: [] for name in MODELS}
    separations = []
    for R in config.ratios:
        work.tell(f"the optima at R = {R}")
        problem = _problem(config, R, config.majority + config.minority - 1)
        for name in MODELS:
            optima[name].append(_optimum(config, name, problem))
        separations.append(ulpm.minimum_norm_separation(problem))
    searches = {name: _search(config, name, work) for name in MODELS}
    samples = [config.minority_count * (config.majority * R + config.minority) for R in config.ratios]
    weights = {"a": config.minority_count, "b": math.sqrt(config.minority_count)}
    curves = {
        name: layer_peeled_curve(found, config.majority, [weights[name] / N for N in samples])
        for name, found in optima.items()
    }
    margin_problem = margin_curve(separations, config.majority)
    if not config.constrained:
        curves["a"] = margin_problem
    return Data(curves, searches, margin_problem)


def _problem(config: Config, R: int, feature_dim: int) -> ulpm.Problem:
    n_B = config.minority_count
    return ulpm.Problem([R * n_B] * config.majority + [n_B] * config.minority, feature_dim)


def _optimum(config: Config, name: str, problem: ulpm.Problem) -> ulpm.LayerPeeledOptimum:
    return _solved(name, problem, config.energies if name == "a" else config.decays)


@functools.cache  # negative controls ask for the optima of the experiment again
def _solved(name: str, problem: ulpm.Problem, pair: tuple[float, float]) -> ulpm.LayerPeeledOptimum:
    solve = ulpm.norm_constrained_optimum if name == "a" else ulpm.regularised_optimum
    return solve(problem, *pair)


def _search(config: Config, name: str, work: Work) -> Search:
    """Descent from the same random starts at each of the searched ratios."""
    excess, cosines = [], []
    for R in config.searched:
        work.tell(f"{MODELS[name]}: descent from {config.starts} starts at R = {R}")
        problem = _problem(config, R, config.feature_dim)
        best = _optimum(config, name, problem)
        objective = (
            constrained_objective(problem, *config.energies)
            if name == "a"
            else regularised_objective(problem, *config.decays)
        )
        start = problem.random_state(config.seed, replicas=config.starts, device=config.device)
        values, W = work.replicas(functools.partial(descend, objective), start.W, start.H)
        excess.append(values.cpu() / best.value - 1)
        cosines.append(torch.stack([minority_cosine(one.cpu(), config.majority) for one in W]))
    return Search(torch.stack(excess), torch.stack(cosines))
