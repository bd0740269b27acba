"""The end state of a network with weight decay, the minimum of Φ of its own model, and the ends of the model's flows.

The model minimises Φ/N = L/N + ½λ_W‖W‖² + ½λ_H‖H‖². A network decays its parameters and not its features: λ_W is the
decay of its last layer, and λ_H has no counterpart. At each critical point λ_W‖W‖² = λ_H‖H‖², so we choose λ_H =
λ_W‖W‖²/‖H‖² of the network's last state. This one number is fitted.

Source: model and balance: Zhu, Ding, Zhou, Li, You, Sulam, Qu, "A geometric analysis of neural collapse with
unconstrained features", 2021.
"""

import dataclasses

import torch

import ulpm
from real_experiments.losses import summed_loss
from real_experiments.recipe import Recipe

__all__ = ["Rest", "decay_of_mean_loss", "end_of_model", "rest_quantities", "with_decay"]


@dataclasses.dataclass(frozen=True)
class Rest:
    """The ends of a network and of its model, each as ``rest_quantities``.

    ``weight_decay`` is (λ_W, λ_H) of the mean loss, ``halvings`` how often decay alone would have halved ‖W‖² in the
    training. ``optimum`` is None where the model's is not known; ``duality_gap`` is that of its Φ/N. The flows are
    those from the network's snapshot, at the end of the training.
    """

    weight_decay: tuple[float, float]
    halvings: float
    network: dict[str, float]
    optimum: dict[str, float] | None
    duality_gap: float | None
    flows: dict[str, dict[str, float]]


def decay_of_mean_loss(recipe: Recipe) -> float:
    """λ with the flow of L/N + ½λ‖θ‖² for the steps of an optimiser; 0 for Adam, whose steps follow no flow.

    Decoupled decay acts outside the momentum β, which makes steps of the gradient 1/(1 − β) long, and counts (1 − β)λ.
    """
    if recipe.optimizer != "sgd":
        return 0.0
    return recipe.weight_decay * ((1 - recipe.momentum) if recipe.decoupled_decay else 1)


def with_decay(problem: ulpm.Problem, recipe: Recipe, end: ulpm.State) -> ulpm.Problem:
    """The model of a network that ended at ``end``: N times λ_W and λ_H, since L is a sum here."""
    λ_W = decay_of_mean_loss(recipe)
    if λ_W == 0:
        return problem
    λ_H = λ_W * float(end.W.square().sum() / end.H.square().sum())
    N = problem.num_samples
    return dataclasses.replace(problem, weight_decay=(N * λ_W, N * λ_H))


def end_of_model(problem: ulpm.Problem) -> tuple[ulpm.State | None, float | None]:
    """The state of least Φ and the duality gap of Φ/N; None where a loss is not convex, or d features are too few."""
    if not problem.loss.convex:
        return None, None
    found = ulpm.optimum(problem)
    return (None, None) if found.state is None else (found.state, found.duality_gap / problem.num_samples)


def rest_quantities(problem: ulpm.Problem, state: ulpm.State) -> dict[str, float]:
    """The quantities that are compared at rest.

    train_loss      L/N
    objective       Φ/N
    row_norm        √(mean ‖w_k‖²)
    feature_norm    √(mean ‖h_i‖²)
    product         their product
    centered_norm   √(mean ‖h_i − h̄‖²), h̄ the mean of all: features of a network behind a ReLU have a large one
    mean_margin     mean of Z_{y_i,i} − Z_{j,i} over i and j ≠ y_i
    margin          q_min, the least of them
    pull            −⟨∂L/∂W, W⟩/(N λ_W ‖W‖²): what the loss adds to ‖W‖² for each part that decay takes; 1 at rest
    and the metrics of ``ulpm.neural_collapse``
    """
    K, N = problem.num_classes, problem.num_samples
    labels = problem.labels.to(state.W.device)
    products = (state.W @ state.H).T.detach()
    Z = products if state.b is None else products + state.b
    with torch.enable_grad():
        Z = Z.clone().requires_grad_()
        loss = summed_loss(problem.loss, Z, labels)  # type: ignore[arg-type]
        (slope,) = torch.autograd.grad(loss, Z)
    Z = Z.detach()
    own = Z.gather(1, labels[:, None])[:, 0]
    W_squared, H_squared = state.W.square().sum(), state.H.square().sum()
    row_norm, feature_norm = (W_squared / K).sqrt(), (H_squared / N).sqrt()
    found = {
        "train_loss": loss.detach() / N,
        "objective": ulpm.log_loss(problem, state).exp() / N,
        "row_norm": row_norm,
        "feature_norm": feature_norm,
        "product": row_norm * feature_norm,
        "centered_norm": (state.H - state.H.mean(1, keepdim=True)).square().sum(0).mean().sqrt(),
        "mean_margin": (K * own - Z.sum(1)).mean() / (K - 1),
        "margin": ulpm.margin(problem, state),
        "pull": -(slope * products).sum() / (problem.weight_decay[0] * W_squared),
        **ulpm.neural_collapse(state.W, state.H, labels, state.b),
    }
    return {name: float(value) for name, value in found.items()}
