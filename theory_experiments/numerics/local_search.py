"""Descent from random starts, for models whose optimal value is known from a convex relaxation."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from ulpm import Problem

__all__ = ["constrained_objective", "descend", "regularised_objective"]

_ITERATIONS = 2000

Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]  # (value, W, H) at unconstrained variables


def constrained_objective(problem: Problem, classifier_energy: float, feature_energy: float) -> Objective:
    """Mean loss at the rescaled (W, H) with (1/K)‖W‖² = E_W and (1/K) Σ_i ‖h_i‖²/n_{y_i} = E_H."""
    roots = torch.tensor(problem.class_counts, dtype=torch.float64)[problem.labels].sqrt()
    K = problem.num_classes

    def objective(W: Tensor, H: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        W = W * (math.sqrt(K * classifier_energy) / W.norm())
        # In units of √n_k the constraint is a sphere, and rare and frequent classes move at equal rates.
        H = H * roots.to(H) * (math.sqrt(K * feature_energy) / H.norm())
        return _mean_loss(problem, W, H), W, H

    return objective


def regularised_objective(problem: Problem, classifier_decay: float, feature_decay: float) -> Objective:
    """Mean loss + (λ_W/2)‖W‖² + (λ_H/2)‖H‖²."""

    def objective(W: Tensor, H: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        penalty = classifier_decay * W.square().sum() + feature_decay * H.square().sum()
        return _mean_loss(problem, W, H) + penalty / 2, W, H

    return objective


def descend(
    objective: Objective, W: Float[Tensor, "B K d"], H: Float[Tensor, "B d N"]
) -> tuple[Float[Tensor, " B"], Float[Tensor, "B K d"]]:
    """The value where L-BFGS ends from each of the starts, and W there. All features of all samples are free.

    Source: Liu, Nocedal, "On the limited memory BFGS method for large scale optimization", 1989.
    """
    values, classifiers = [], []
    for W_start, H_start in zip(W, H, strict=True):
        variables = W_start.clone().requires_grad_(), H_start.clone().requires_grad_()
        search = torch.optim.LBFGS(
            variables,
            max_iter=_ITERATIONS,
            history_size=20,
            tolerance_grad=1e-12,
            tolerance_change=1e-16,
            line_search_fn="strong_wolfe",
        )

        def closure(search: torch.optim.LBFGS = search, variables: tuple[Tensor, Tensor] = variables) -> Tensor:
            search.zero_grad()
            value, _, _ = objective(*variables)
            value.backward()  # type: ignore[no-untyped-call]
            return value.detach()

        search.step(closure)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            value, W_end, _ = objective(*variables)
        values.append(value)
        classifiers.append(W_end.detach())
    return torch.stack(values), torch.stack(classifiers)


def _mean_loss(problem: Problem, W: Tensor, H: Tensor) -> Tensor:
    return torch.nn.functional.cross_entropy((W @ H).T, problem.labels.to(H.device))
