"""The optimisers of a training run."""

import torch
from torch import nn

from real_experiments.recipe import Recipe

__all__ = ["make_optimizer", "shrink"]


def make_optimizer(recipe: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    """Stochastic gradient descent with momentum, Adam or AdamW with torch's other defaults, on all parameters."""
    parameters, rate, decay = model.parameters(), recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "adam":
        return torch.optim.Adam(parameters, rate, weight_decay=decay)
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(parameters, rate, weight_decay=decay)
    coupled = 0.0 if recipe.decoupled_decay else decay
    return torch.optim.SGD(parameters, rate, recipe.momentum, weight_decay=coupled)


@torch.no_grad()
def shrink(recipe: Recipe, optimizer: torch.optim.Optimizer) -> None:
    """θ ← (1 − ηλ) θ for decoupled decay, which torch's SGD has not; for the others nothing. Call it before a step."""
    if recipe.decoupled_decay:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.mul_(1 - recipe.learning_rate * recipe.weight_decay)
