"""Other losses along the ray: their constants, and full gradient flows by autograd."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from scipy.integrate import solve_ivp
from torch import Tensor

import ulpm
from theory_experiments.harness.claim import Claim
from theory_experiments.numerics import rays
from theory_experiments.numerics.summaries import greatest
from theory_experiments.numerics.vectors import unflat
from theory_experiments.theorems.solved_flows.config import Config

__all__ = ["Constants", "constants", "direct_errors", "loss_claims"]


@dataclasses.dataclass(frozen=True)
class Constants:
    """Distances of L·t·log t and ρ²/log t from their limits along a ray, next terms, and size of the remainder."""

    name: str
    kappa: float
    log_time: Float[np.ndarray, " Q"]
    loss: Float[np.ndarray, " Q"]
    norm: Float[np.ndarray, " Q"]
    loss_term: Float[np.ndarray, " Q"]
    norm_term: Float[np.ndarray, " Q"]
    unit: Float[np.ndarray, " Q"]


def constants(config: Config, tail: rays.Tail) -> Constants:
    """Distances from both limits along the ray, with the next terms, for K = 4, n = 5."""
    K, n = 4, 5
    kappa = 1.0 if config.kappa_is_one else tail.kappa
    v = (K - 1) * math.sqrt(n)
    q = np.geomspace(100, 1e6, 60) / tail.kappa
    q = np.maximum(q, 100)
    log_t = rays.log_time(tail, q, K, n)
    # log(L·t) from the logarithms: each is at most 10^6 and has a rounding error of 1e-10.
    loss = np.exp(math.log(n * K) + tail.log_loss(q, K) + log_t) * log_t / (v / (2 * kappa)) - 1
    norm = 2 * v * q / log_t / (2 * v / kappa) - 1
    shift = tail.shift(q, K, n)
    x = kappa * q
    return Constants(tail.name, tail.kappa, log_t, loss, norm, (1 - shift) / x, shift / log_t, (shift / x) ** 2 + 1e-9)


def direct_errors(tails: Sequence[rays.Tail]) -> dict[str, float]:
    """Margins of full gradient flows by autograd and scipy, against the scalar equation, relative, by loss."""
    problem = ulpm.Problem([3] * 4, 3)
    K, n = 4, 3
    one_hot = torch.nn.functional.one_hot(problem.labels).T.bool()

    def focal(gamma: float) -> Callable[[Tensor], Tensor]:
        def loss(Z: Tensor) -> Tensor:
            log_p = torch.log_softmax(Z, 0).T[one_hot.T]
            return ((1 - log_p.exp()).pow(gamma) * -log_p).sum()

        return loss

    def slope(tail: rays.Tail) -> Callable[[Float[np.ndarray, "1"]], Float[np.ndarray, "1"]]:
        return lambda q: np.exp(tail.log_minus_slope(q, K))

    def exponential(Z: Tensor) -> Tensor:
        return (Z - Z.T[one_hot.T])[~one_hot].exp().sum()

    losses = {tail.name: (focal(tail.gamma), slope(tail)) for tail in tails}
    if losses:
        losses["exponential loss"] = exponential, lambda q: (K - 1) * np.exp(-q)
    times = np.linspace(0, 100, 30)
    settings = {"method": "DOP853", "t_eval": times, "rtol": 1e-11, "atol": 1e-11}
    start = ulpm.collapsed_state(problem, norm=math.sqrt(2 * problem.minimum_norm_value)).vector()
    errors = {}
    for name, (loss, minus_slope) in losses.items():

        def rate(_: float, y: np.ndarray, loss: Callable[[Tensor], Tensor] = loss) -> np.ndarray:
            point = torch.from_numpy(y).requires_grad_()
            state = unflat(problem, point)
            (gradient,) = torch.autograd.grad(loss(state.W @ state.H), point)
            return -gradient.numpy()

        def scalar(_: float, q: np.ndarray, slope: Callable[..., np.ndarray] = minus_slope) -> np.ndarray:
            speed: np.ndarray = 2 * q * n * K * slope(q) / ((K - 1) * math.sqrt(n))
            return speed

        states = solve_ivp(rate, (0, times[-1]), start.numpy(), **settings).y
        q = solve_ivp(scalar, (0, times[-1]), [1.0], **settings).y[0]
        worst = []
        for y, want in zip(states.T, q, strict=True):
            state = unflat(problem, torch.from_numpy(y.copy()))
            Z = state.W @ state.H
            margins = (Z.T[one_hot.T] - Z)[~one_hot]
            worst.append((margins / want - 1).abs().max())
        errors[name] = greatest(worst)
    return errors


def loss_claims(direct: Mapping[str, float], found: Sequence[Constants]) -> list[Claim]:
    """Gradient flows satisfy the equation of the ray, and the constants are those of its late solution."""
    if not found:
        return []
    claims = [
        Claim(
            f"Ray of other losses: relative distance of any margin of a gradient flow by autograd from the solution of "
            f"dq/dt = −2q·nK φ′(q)/((K − 1)√n), largest over t ≤ 100 and {', '.join(direct)}.",
            greatest(direct.values()),
            "<=",
            1e-9,
            "both are integrated at a tolerance of 1e-11, in less than a hundred steps",
        )
    ]
    for each in found:
        claims.append(
            Claim(
                f"Constants of {each.name}: relative distance of L·t·log t from v*/(2κ) and of ρ²/log t from 2v*/κ, "
                f"κ = {each.kappa:g}, at κq = 10^6, K = 4, n = 5.",
                float(max(abs(each.loss[-1]), abs(each.norm[-1]))),
                "<=",
                2 * float(max(abs(each.loss_term[-1]), abs(each.norm_term[-1]))),
                "twice the next term of the expansion, of order log q/q",
            )
        )
        rest = max(
            float(np.max(np.abs(each.loss - each.loss_term) / each.unit)),
            float(np.max(np.abs(each.norm - each.norm_term) / each.unit)),
        )
        claims.append(
            Claim(
                f"Constants of {each.name}: difference of both distances from the next term, in units of (log q/q)² "
                "with its constants, largest over κq from 100 to 10^6.",
                rest,
                "<=",
                2.0,
                "the term after the next is of that order, with coefficients below 2",
            )
        )
    return claims
