"""The optimisers of a training run."""

from collections.abc import Callable

import torch
from torch import nn

from real_experiments.recipe import Recipe

__all__ = ["DecoupledSGD", "make_optimizer"]


class DecoupledSGD(torch.optim.SGD):
    """Momentum with decoupled decay, which torch's SGD has not: v ← β v + g, θ ← θ − η (v + λ θ).

    Decay and gradient are added before they are rounded to the number format of θ. A factor 1 − ηλ of its own would be
    rounded the same way in each step, and the errors would add up.
    """

    def __init__(self, parameters: object, rate: float, momentum: float, decay: float) -> None:
        super().__init__(parameters, rate, momentum)  # type: ignore[arg-type]
        self._decay = decay

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step; ``closure`` is not supported."""
        for group in self.param_groups:
            for parameter in group["params"]:
                state, gradient = self.state[parameter], parameter.grad
                buffer = state.get("momentum_buffer")
                buffer = gradient.clone() if buffer is None else buffer.mul_(group["momentum"]).add_(gradient)
                state["momentum_buffer"] = buffer
                parameter.sub_(buffer + self._decay * parameter, alpha=group["lr"])


def make_optimizer(recipe: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    """Stochastic gradient descent with momentum, Adam or AdamW with torch's other defaults, on all parameters."""
    parameters, rate, decay = model.parameters(), recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "adam":
        return torch.optim.Adam(parameters, rate, weight_decay=decay)
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(parameters, rate, weight_decay=decay)
    if recipe.decoupled_decay:
        return DecoupledSGD(parameters, rate, recipe.momentum, decay)
    return torch.optim.SGD(parameters, rate, recipe.momentum, weight_decay=decay)
