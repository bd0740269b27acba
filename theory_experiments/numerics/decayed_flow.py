"""The flow with weight decay, in plain flow time, by a classical method that shares no code with the core's solver."""

import torch
from jaxtyping import Float
from torch import Tensor

import ulpm

__all__ = ["plain_field", "plain_flow"]


def plain_field(
    problem: ulpm.Problem, W: Float[Tensor, "*batch K d"], H: Float[Tensor, "*batch d N"], weight_decay: float = 0.0
) -> tuple[Float[Tensor, "*batch K d"], Float[Tensor, "*batch d N"]]:
    """(R Hᵀ − λW, Wᵀ R − λH) with R = Y − softmax(W H): the textbook form, for moderate losses."""
    one_hot = torch.nn.functional.one_hot(problem.labels, problem.num_classes).T.to(W)
    R = one_hot - torch.softmax(W @ H, dim=-2)
    return R @ H.mT - weight_decay * W, W.mT @ R - weight_decay * H


def plain_flow(
    problem: ulpm.Problem,
    state: ulpm.State,
    times: Float[Tensor, " R"],
    *,
    step: float,
    weight_decay: float = 0.0,
    order: int = 4,
) -> list[ulpm.State]:
    """The states at the increasing ``times`` of dΘ/dt = −∇L(Θ) − λΘ, from ``state`` at t = 0.

    Steps of at most ``step``; ``order`` is 4 (the classical Runge–Kutta method; Kutta, 1901) or 1 (Euler's).

    Raises: ValueError for another order.
    """
    if order not in (1, 4):
        raise ValueError(f"order must be 1 or 4, but {order} was given.")
    states, now = [], 0.0
    W, H = problem.check(state).W, state.H
    for time in times.tolist():
        count = max(1, round((time - now) / step))
        h = (time - now) / count
        for _ in range(count if h > 0 else 0):
            W, H = _step(problem, W, H, h, weight_decay, order)
        states.append(ulpm.State(W, H))
        now = time
    return states


def _step(
    problem: ulpm.Problem, W: Tensor, H: Tensor, h: float, weight_decay: float, order: int
) -> tuple[Tensor, Tensor]:
    W1, H1 = plain_field(problem, W, H, weight_decay)
    if order == 1:
        return W + h * W1, H + h * H1
    W2, H2 = plain_field(problem, W + h / 2 * W1, H + h / 2 * H1, weight_decay)
    W3, H3 = plain_field(problem, W + h / 2 * W2, H + h / 2 * H2, weight_decay)
    W4, H4 = plain_field(problem, W + h * W3, H + h * H3, weight_decay)
    return W + h / 6 * (W1 + 2 * W2 + 2 * W3 + W4), H + h / 6 * (H1 + 2 * H2 + 2 * H3 + H4)
