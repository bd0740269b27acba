"""Hadamard starts: the singular vectors of the logits are characters of (ℤ/2)^m and stay fixed; only σ moves.

    K = 2^m,   W = Φ diag(a) Qᵀ,   H = Q diag(b) Φᵀ repeated over the n samples of a class,   a = √n b,   σ = ab

Φ = χ/√K has the characters χ_s(g) = ±1, s ≠ 0, as columns; column 0 is constant and has no effect. Logits depend only
on the "difference" of sample class and class, with the margins

    q(g) = (2/K) Σ_{s: χ_s(g) = −1} σ_s,   q(0) = 0,   and   σ̇_s = 2√n σ_s (1 − Σ_g p(g) χ_s(g)),   p = softmax(−q).

Source: Garrod, Keating, Thrampoulidis, "Diagonalizing the Softmax: Hadamard Initialization for Tractable Cross-Entropy
Dynamics", 2025. The Lyapunov function used here, and its proof, are this project's.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from scipy.integrate import solve_ivp
from torch import Tensor

import ulpm

__all__ = ["characters", "log_ratio", "lyapunov", "margins", "mean_margin", "reduced_flow", "seen", "start"]


def characters(K: int) -> Float[Tensor, "K K"]:
    """χ_s(g), row g and column s, the Hadamard matrix of Sylvester.

    Raises: ValueError unless K is a power of 2.
    """
    if K < 2 or K & (K - 1):
        raise ValueError(f"a Hadamard start needs K to be a power of 2, but {K} was given.")
    table = torch.ones(1, 1, dtype=torch.float64)
    while len(table) < K:
        table = torch.kron(torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64), table)
    return table


def start(
    problem: ulpm.Problem,
    sigma: Float[Tensor, "B s"],
    turn: Float[Tensor, "s s"] | None = None,
    excess: float = 1.0,
) -> ulpm.State:
    """The states with singular values ``sigma``, s = K − 1, in the first K − 1 coordinates of R^d.

    ``turn`` replaces Φ by another orthonormal basis of the same space, and ``excess`` makes a = excess·√n b. Either of
    them gives a start that is not a Hadamard start.
    """
    K, n = problem.num_classes, problem.class_counts[0]
    basis = characters(K)[:, 1:] / math.sqrt(K)
    if turn is not None:
        basis = basis @ turn
    a = (excess * math.sqrt(n) * sigma).sqrt()
    W = basis * a[:, None]
    H = (sigma / a)[..., None] * basis.T[:, problem.labels]
    unused = problem.feature_dim - K + 1
    pad = torch.nn.functional.pad
    return ulpm.State(pad(W, (0, unused)), pad(H, (0, 0, 0, unused)).contiguous())


def seen(
    problem: ulpm.Problem, states: ulpm.Snapshots, turn: Float[Tensor, "s s"] | None = None
) -> tuple[Float[Tensor, "R B s"], Float[Tensor, "R B"]]:
    """σ along a run, and the parts of W and H off the diagonal in the vectors of the start, relative to ‖W‖ or ‖H‖."""
    K, n, d = problem.num_classes, problem.class_counts[0], problem.feature_dim
    W, H = states.W.cpu(), states.H.cpu()
    basis = characters(K)[:, 1:] / math.sqrt(K)
    if turn is not None:
        basis = basis @ turn
    spread, axes = basis[problem.labels], torch.eye(d, K - 1, dtype=torch.float64)
    a = torch.diagonal(basis.T @ W @ axes, dim1=-2, dim2=-1)
    b = torch.diagonal(axes.T @ H @ spread / n, dim1=-2, dim2=-1)
    rest_W = (W - basis * a[..., None, :] @ axes.T).norm(dim=(-2, -1)) / W.norm(dim=(-2, -1))
    rest_H = (H - axes * b[..., None, :] @ spread.T).norm(dim=(-2, -1)) / H.norm(dim=(-2, -1))
    return a * b, torch.maximum(rest_W, rest_H)


def margins(sigma: Float[Tensor, "*batch s"]) -> Float[Tensor, "*batch s"]:
    """q(g), g ≠ 0."""
    K = sigma.shape[-1] + 1
    apart = (1 - characters(K)[1:, 1:]) / 2
    return 2 / K * sigma @ apart.T


def mean_margin(sigma: Float[Tensor, "*batch s"]) -> Float[Tensor, "*batch"]:
    """⟨q⟩ = Σ_{g≠0} e^(−q(g)) q(g)/Σ_{g≠0} e^(−q(g)), a mean with the largest weights on the smallest margins."""
    q = margins(sigma)
    return (torch.softmax(-q, -1) * q).sum(-1)


def lyapunov(sigma: Float[Tensor, "*batch s"]) -> Float[Tensor, "*batch"]:
    """Λ = log(arithmetic mean of σ) − log(geometric mean of σ) ≥ 0, which is zero if and only if all σ are equal."""
    # With r = σ/σ̄ − 1, whose mean is 0, it is the mean of r − log(1 + r): no cancellation of large logarithms.
    r = sigma / sigma.mean(-1, keepdim=True) - 1
    return (r - torch.log1p(r)).mean(-1)


def log_ratio(sigma: Float[Tensor, "*batch s"]) -> Float[Tensor, "*batch"]:
    """log(max σ/min σ), which is also zero if and only if all σ are equal, but may grow along the flow."""
    return (sigma.amax(-1) / sigma.amin(-1)).log()


def reduced_flow(
    sigma: Float[Tensor, "B s"], n: int, log_times: Sequence[float], tolerance: float = 1e-13
) -> Float[Tensor, "R B s"]:
    """σ of several starts at increasing log times, from its own equation: no W, no H, and scipy's DOP853.

    The variable is u = log(1 + t): the equation is not stiff in it, and t cannot overflow.
    Raises: ArithmeticError if scipy fails.
    """
    B, s = sigma.shape
    K = s + 1
    apart = ((1 - characters(K)[1:, 1:]) / 2).numpy()

    def rate(u: float, logs: Float[np.ndarray, " Bs"]) -> Float[np.ndarray, " Bs"]:
        q = 2 / K * np.exp(logs.reshape(B, s)) @ apart.T
        p = np.exp(u - q - np.logaddexp(0, np.logaddexp.reduce(-q, axis=1))[:, None])
        return np.ravel(4 * math.sqrt(n) * p @ apart)

    u = np.logaddexp(0, np.asarray(log_times))
    began = np.log(sigma.numpy()).ravel()
    solution = solve_ivp(rate, (0, u[-1]), began, "DOP853", t_eval=u, rtol=tolerance, atol=tolerance, first_step=1e-4)
    if not solution.success:
        raise ArithmeticError(f"the equation of the singular values was not solved: {solution.message}")
    return torch.from_numpy(np.exp(solution.y.T.reshape(-1, B, s)))
