"""The law of Σ_k w_k under an optimiser: exact whatever the network, the data and the batches.

The gradient of a softmax loss in the logits sums to zero over the classes, that of cross-entropy with or without
smoothed labels and of the focal loss, so that of the last layer's W sums to zero over its rows, and s = Σ_k w_k changes
by weight decay alone. (The squared error has no such law.) With learning rate η, momentum β and decay λ a step of
stochastic gradient descent does

    coupled    v ← β v + λ s,   s ← s − η v,    v = 0 at first
    decoupled  s ← (1 − η λ) s

to it: linear, so that s after t steps is a number times s(0). Adam divides each coordinate of the gradient by its own
running size, after which the rows no longer sum to zero: s is not the decayed start, and where ‖s‖/‖W‖ does not fall
there is no neural collapse. Source: the law as a diagnostic, NC0: Zhao, Cheng, Masarczyk, Lucchi, "Optimizer choice
matters for the emergence of neural collapse", 2026.
"""

import math

import numpy as np

from real_experiments.recipe import Recipe

__all__ = ["kept_share"]


def kept_share(recipe: Recipe, steps: int) -> float:
    """The number f_t with s(t) = f_t s(0) after ``steps`` steps under the law; 1 without weight decay.

    For Adam it is what would be left if its steps kept s as those of gradient descent do: 1, or (1 − ηλ)^t of AdamW.
    nan for Adam with coupled decay, which is divided by the running size as well, and for a loss whose gradient does
    not sum to zero: there is no such number.
    """
    if not recipe.model_loss.conserves_sums:
        return math.nan
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "adam" and decay > 0:
        return math.nan
    if recipe.optimizer != "sgd" or recipe.decoupled_decay:
        return float((1 - rate * decay) ** steps)
    momentum = recipe.momentum
    step = np.array([[1 - rate * decay, -rate * momentum], [decay, momentum]])  # of (s, v)
    return float(np.linalg.matrix_power(step, steps)[0, 0])
