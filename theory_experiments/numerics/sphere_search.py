"""Descent of the loss on a sphere ‖W‖² + ‖H‖² = ρ², in batches, and the distance of its ends from each other."""

import torch
from torch import Tensor

import ulpm
from theory_experiments.numerics.vectors import unflat

__all__ = ["descend_on_sphere", "distance_to"]

_MEMORY = 10  # a step is compared with the last ten values
_SMALLEST_LOG = -30.0  # below it log(1 + e^x) is e^x to rounding


def distance_to(problem: ulpm.Problem, reference: Tensor, points: Tensor) -> Tensor:
    """The least ‖Θ − Θ₀Q‖ over all rotations and reflections Q of feature space, for points [B, D] and Θ₀ [D].

    The best Q is the orthogonal factor of W₀ᵀW + H₀Hᵀ (Schönemann, "A generalized solution of the orthogonal
    Procrustes problem", 1966).
    """
    fixed, moving = unflat(problem, reference), unflat(problem, points)
    U, _, Vh = torch.linalg.svd(fixed.W.mT @ moving.W + fixed.H @ moving.H.mT)
    turned = ulpm.State(fixed.W @ U @ Vh, (U @ Vh).mT @ fixed.H)
    # From the difference, not from singular values: small distances stay accurate.
    distance: Tensor = (points - turned.vector()).norm(dim=1)
    return distance


def descend_on_sphere(problem: ulpm.Problem, starts: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """The lowest log L [B] reached from ``starts`` [B, D], each on the sphere of its start, and its points.

    Projected gradient steps with the length of Barzilai and Borwein, "Two-Point Step Size Gradient Methods", 1988. We
    accept a step if its value is below one of the last ten. Otherwise we try a quarter of its length.
    """
    rho = starts.norm(dim=1, keepdim=True)
    here = starts
    value, slope = _log_loss_and_slope(problem, here)
    lowest, where = value, here
    recent = value.expand(_MEMORY, -1).clone()
    longest = rho / slope.norm(dim=1, keepdim=True).clamp(min=1e-300)
    step = 0.1 * longest
    for iteration in range(iterations):
        trial = here - step * slope
        trial = trial * rho / trial.norm(dim=1, keepdim=True)
        trial_value, trial_slope = _log_loss_and_slope(problem, trial)
        # We allow a few roundings: near the end no step is lower.
        taken = trial_value <= recent.amax(0) + 1e-13 * (1 + value.abs())
        moved, turned = trial - here, trial_slope - slope
        product = (moved * turned).sum(1, keepdim=True)
        longer = torch.where(product > 0, moved.square().sum(1, keepdim=True) / product.clamp(min=1e-300), 4 * step)
        longest = rho / slope.norm(dim=1, keepdim=True).clamp(min=1e-300)
        step = torch.where(taken[:, None], torch.minimum(longer, longest), step / 4)
        here = torch.where(taken[:, None], trial, here)
        slope = torch.where(taken[:, None], trial_slope, slope)
        value = torch.where(taken, trial_value, value)
        recent[iteration % _MEMORY] = value
        better = value < lowest
        lowest, where = torch.where(better, value, lowest), torch.where(better[:, None], here, where)
    return lowest, where


def _log_loss_and_slope(problem: ulpm.Problem, points: Tensor) -> tuple[Tensor, Tensor]:
    """log L [B] and the part of its gradient [B, D] that is tangent to the sphere, by automatic differentiation.

    Written from the definition of the loss, so that the search does not rely on the package's field.
    """
    variables = points.detach().requires_grad_()
    state = unflat(problem, variables)
    Z = state.W @ state.H
    labels = problem.labels.expand(len(Z), 1, Z.shape[2])
    x = (Z - Z.gather(1, labels)).scatter(1, labels, -torch.inf).logsumexp(1)
    logs = torch.nn.functional.softplus(x.clamp(min=_SMALLEST_LOG)).log()
    value = torch.where(x < _SMALLEST_LOG, x, logs).logsumexp(1)
    (gradient,) = torch.autograd.grad(value.sum(), variables)
    outward = (gradient * points).sum(1, keepdim=True) / points.square().sum(1, keepdim=True)
    return value.detach(), gradient - outward * points
