"""Independent answers to compare with: literal formulas in 50 digits, autograd, scipy, enumeration.

Nothing here imports the package. Arrays are numpy float64 of single states: W [K, d], H [d, N], labels [N].
"""

import functools
import itertools
import math

import mpmath
import numpy as np
import scipy.linalg
import torch
from mpmath import mp
from scipy.integrate import solve_ivp

DIGITS = 50


def random_arrays(seed, counts, d, scale=1.0):
    """W, H and labels with entries N(0, scale²/d)."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    W = rng.standard_normal((len(counts), d)) * scale / math.sqrt(d)
    return W, rng.standard_normal((d, len(labels))) * scale / math.sqrt(d), labels


def collapsed_arrays(seed, counts, d, gap, noise=1e-3):
    """A noisy, randomly rotated simplex ETF with self-duality, scaled so that all its margins are about ``gap``."""
    rng = np.random.default_rng(seed)
    K = len(counts)
    labels = np.repeat(np.arange(K), counts)
    frame = (np.eye(K) - 1 / K) @ np.linalg.qr(rng.standard_normal((max(K, d), max(K, d))))[0][:K, :d]
    W = math.sqrt(gap) * (frame + noise * rng.standard_normal((K, d)))
    return W, math.sqrt(gap) * (frame[labels] + noise * rng.standard_normal((len(labels), d))).T, labels


# --- in 50 digits ----------------------------------------------------------------------------------------------------


def exact(array):
    """A matrix of 50-digit numbers that equal the entries of a float array."""
    return mp.matrix([[mp.mpf(float(x)) for x in row] for row in array])


def exact_loss_and_field(W, H, labels):
    """log L and the two parts of −∇ log L from the definition, W and H given as mpmath matrices."""
    K, N = W.rows, H.cols
    Z = W * H
    loss, R = mp.mpf(0), mp.zeros(K, N)
    for i in range(N):
        y = int(labels[i])
        odds = {j: mp.exp(Z[j, i] - Z[y, i]) for j in range(K) if j != y}
        total = mp.fsum(odds.values())
        loss += mp.log1p(total)
        for j, value in odds.items():
            R[j, i] = -value / (1 + total)
        R[y, i] = total / (1 + total)
    return mp.log(loss), (R * H.T) / loss, (W.T * R) / loss


def exact_jacobian_product(W, H, labels, W_tangent, H_tangent):
    """The directional derivative of the field: a central difference of step 1e-20 in 80 digits, so good to 1e-35."""
    with mp.workdps(80):
        W, H, W_tangent, H_tangent = (exact(a) for a in (W, H, W_tangent, H_tangent))
        h = mp.mpf(10) ** -20
        _, W_plus, H_plus = exact_loss_and_field(W + h * W_tangent, H + h * H_tangent, labels)
        _, W_minus, H_minus = exact_loss_and_field(W - h * W_tangent, H - h * H_tangent, labels)
        return (W_plus - W_minus) / (2 * h), (H_plus - H_minus) / (2 * h)


def in_digits(function):
    """Run ``function`` in 50 digits."""

    @functools.wraps(function)
    def wrapped(*args):
        with mp.workdps(DIGITS):
            return function(*args)

    return wrapped


def distance(got, want):
    """‖got − want‖_F of a float array and an mpmath matrix, the difference taken in 50 digits."""
    with mp.workdps(DIGITS):
        return float(mp.mnorm(exact(got) - want, "f"))


@in_digits
def exact_softplus(x):
    return mp.log1p(mp.exp(mp.mpf(float(x))))


@in_digits
def exact_log_softplus(x):
    return mp.log(mp.log1p(mp.exp(mp.mpf(float(x)))))


@in_digits
def exact_logsumexp(values):
    return mp.log(mp.fsum(mp.exp(mp.mpf(float(x))) for x in values))


@in_digits
def error_against(got, want):
    """got − want as a float, without rounding ``want`` first."""
    return float(mpmath.mpf(float(got)) - want)


# --- autograd and enumeration ----------------------------------------------------------------------------------------


def autograd_log_loss(W, H, labels):
    """log of the summed cross-entropy as torch knows it; W [..., K, d], H [..., d, N] may require gradients."""
    Z = (W @ H).mT.reshape(-1, W.shape[-2])
    y = labels.expand(*W.shape[:-2], -1).reshape(-1)
    per_sample = torch.nn.functional.cross_entropy(Z, y, reduction="none")
    return per_sample.view(*W.shape[:-2], -1).sum(-1).log()


def autograd_field(W, H, labels):
    """−∇ log L."""
    W, H = W.clone().requires_grad_(), H.clone().requires_grad_()
    W_grad, H_grad = torch.autograd.grad(autograd_log_loss(W, H, labels).sum(), (W, H))
    return -W_grad, -H_grad


def plain_objective(problem, W, H, b=None):
    """What a problem minimises as its definition reads, by torch's own softmax: right where no probability is tiny."""
    Z = W @ H if b is None else W @ H + b[:, None]
    K, N = Z.shape
    log_p = torch.log_softmax(Z, 0)
    wrong = -log_p[problem.labels, torch.arange(N)]
    loss = problem.loss
    if loss.name == "cross-entropy":
        each = (1 - loss.label_smoothing) * wrong - loss.label_smoothing / K * log_p.sum(0)
    elif loss.name == "focal":
        each = (1 - torch.exp(-wrong)) ** loss.gamma * wrong
    else:
        each = 0.5 * (Z - torch.nn.functional.one_hot(problem.labels, K).T).square().sum(0)
    total = each.sum() if problem.reduction == "sum" else each.mean()
    decay_W, decay_H = problem.weight_decay
    return total + decay_W / 2 * W.square().sum() + decay_H / 2 * H.square().sum()


def enumerated_margin(W, H, labels):
    """The smallest margin, one pair of sample and class at a time."""
    pairs = itertools.product(range(len(labels)), range(len(W)))
    return min(float((W[labels[i]] - W[j]) @ H[:, i]) for i, j in pairs if j != labels[i])


# --- flows by scipy --------------------------------------------------------------------------------------------------


def _log_parts(v, K, d, labels):
    """W, H, gaps with −inf on the label row, log of the odds against the label, log(1 + odds) of a flat state."""
    N = len(labels)
    W, H = v[: K * d].reshape(K, d), v[K * d :].reshape(d, N)
    gaps = W @ H
    gaps = gaps - gaps[labels, np.arange(N)]
    gaps[labels, np.arange(N)] = -np.inf
    log_odds = np.logaddexp.reduce(gaps, axis=0)
    return W, H, gaps, log_odds, np.logaddexp(0, log_odds)


def numpy_log_loss(v, K, d, labels):
    """log L of a flat state."""
    *_, log_odds, log_total = _log_parts(v, K, d, labels)
    # log(1 + odds) = odds·(1 − odds/2 …): below e^−40 the logs agree to float64.
    log_losses = np.where(log_odds < -40, log_odds, np.log(np.maximum(log_total, 1e-300)))
    return float(np.logaddexp.reduce(log_losses))


def reference_flow(W, H, labels, log_times):
    """[(log L, flat state)] of the gradient flow at each log time, by DOP853 in u = log(1 + t) at tolerance 1e-12.

    dΘ/du = (1 + t)·dΘ/dt, with (1 + t)·p_{ij} = exp(a_{ij} − log(1 + odds) + u) taken in logs, so that t may overflow.
    """
    (K, d), N = W.shape, len(labels)

    def rate(u, v):
        W, H, gaps, _, log_total = _log_parts(v, K, d, labels)
        R = -np.exp(gaps - log_total + u)
        R[labels, np.arange(N)] = -R.sum(0)
        return np.concatenate([(R @ H.T).ravel(), (W.T @ R).ravel()])

    u = np.logaddexp(0, np.asarray(log_times, dtype=float))
    start = np.concatenate([W.ravel(), H.ravel()])
    solution = solve_ivp(
        rate, (0, u[-1]), start, method="DOP853", rtol=1e-12, atol=1e-13 * np.abs(start).max(), t_eval=u
    )
    assert solution.success, solution.message
    return [(numpy_log_loss(v, K, d, labels), v) for v in solution.y.T]


def plain_flow(W, H, labels, t):
    """(log L, flat state) of the gradient flow at a moderate t, by DOP853 in t itself with 1 − softmax residuals."""
    (K, d), N = W.shape, len(labels)
    one_hot = np.eye(K)[labels].T

    def rate(_, v):
        W, H = v[: K * d].reshape(K, d), v[K * d :].reshape(d, N)
        P = np.exp(W @ H - np.logaddexp.reduce(W @ H, axis=0))
        return np.concatenate([((one_hot - P) @ H.T).ravel(), (W.T @ (one_hot - P)).ravel()])

    start = np.concatenate([W.ravel(), H.ravel()])
    solution = solve_ivp(rate, (0, t), start, method="DOP853", rtol=1e-12, atol=1e-13)
    assert solution.success, solution.message
    v = solution.y[:, -1]
    return numpy_log_loss(v, K, d, labels), v


# --- Runge–Kutta theory ----------------------------------------------------------------------------------------------


@functools.cache
def rooted_trees(order):
    """All rooted trees with ``order`` nodes, each a sorted tuple of the subtrees at its root."""
    if order == 1:
        return ((),)
    found = set()
    for tree in rooted_trees(order - 1):
        found.update(_with_one_more_leaf(tree))
    return tuple(sorted(found))


def _with_one_more_leaf(tree):
    yield tuple(sorted((*tree, ())))
    for i, branch in enumerate(tree):
        for larger in _with_one_more_leaf(branch):
            yield tuple(sorted((*tree[:i], larger, *tree[i + 1 :])))


def tree_size(tree):
    return 1 + sum(tree_size(branch) for branch in tree)


def tree_density(tree):
    """γ(t): a method of order p has Σ_i b_i Φ_i(t) = 1/γ(t) for each tree of up to p nodes (Butcher)."""
    return tree_size(tree) * math.prod(tree_density(branch) for branch in tree)


def elementary_weights(tree, A):
    """Φ_i(t) = Π over branches of Σ_j a_ij Φ_j(branch)."""
    return math.prod((A @ elementary_weights(branch, A) for branch in tree), start=np.ones(len(A)))


# --- flows that are solved exactly -----------------------------------------------------------------------------------


def ray_log_time(q, q0, K, n):
    """log t of the collapsed ray at the common margin q, in 50 digits: t = [Ei(q) − Ei(q₀) + (K−1) ln(q/q₀)]/(2K√n)."""
    with mp.workdps(DIGITS):
        q, q0 = mp.mpf(q), mp.mpf(q0)
        return mp.log((mp.ei(q) - mp.ei(q0) + (K - 1) * mp.log(q / q0)) / (2 * K * mp.sqrt(n)))


def collapsed_ray(log_time, q0, K, n):
    """(q, log L) of the collapsed ray at ``log_time``, by Newton's method on log t, which cannot overflow."""
    with mp.workdps(DIGITS):
        target = mp.mpf(float(log_time))
        q = max(2 * mp.mpf(q0), target + mp.log(max(target, 1)) + mp.log(2 * K * mp.sqrt(n)))
        for _ in range(100):
            log_t = ray_log_time(q, q0, K, n)
            slope = mp.exp(-log_t) * (mp.exp(q) + K - 1) / (2 * K * mp.sqrt(n) * q)
            newton = q - (log_t - target) / slope
            # log t is −∞ at q₀: no step goes beyond it.
            newton = newton if newton > q0 else (q + q0) / 2
            if abs(newton - q) <= mp.mpf(10) ** -35 * q:
                return newton, mp.log(n * K) + mp.log(mp.log1p((K - 1) * mp.exp(-newton)))
            q = newton
        raise AssertionError(f"Newton's method did not converge at log t = {log_time}.")


def characters(K):
    """χ_s(g) = ±1 in row g and column s: the Hadamard matrix of Sylvester, K a power of 2."""
    return scipy.linalg.hadamard(K).astype(float)


def hadamard_flow(sigma, n, log_times, imbalance=None):
    """[R, K−1] singular values σ_s, s ≠ 0, of the flow from a Hadamard start at increasing log times.

    σ̇_s = √(c_s² + 4nσ_s²)·(1 − Σ_g p(g) χ_s(g)), where c_s = a_s² − n b_s² is conserved (0 if not given), by DOP853 at
    tolerance 1e-13 in u = log(1 + t). The K − 1 gaps are formed from σ alone: no matrix W or H appears.
    """
    sigma = np.asarray(sigma, dtype=float)
    c = np.zeros_like(sigma) if imbalance is None else np.asarray(imbalance, dtype=float)
    flips = (1 - characters(len(sigma) + 1)[1:, 1:]) / 2
    # Gaps are q(g) = z(0) − z(g) = (2/K) Σ_s σ_s [χ_s(g) = −1], and 1 − Σ_g p(g) χ_s(g) = 2 Σ_g p(g) [χ_s(g) = −1].

    def rate(u, log_sigma):
        values = np.exp(log_sigma)
        q = 2 / (len(sigma) + 1) * flips @ values
        p = np.exp(u - q - np.logaddexp(0, np.logaddexp.reduce(-q)))
        return np.sqrt((c / values) ** 2 + 4 * n) * (2 * flips.T @ p)

    u = np.logaddexp(0, np.asarray(log_times, dtype=float))
    solution = solve_ivp(
        rate, (0, u[-1]), np.log(sigma), method="DOP853", rtol=1e-13, atol=1e-14, t_eval=u, first_step=1e-4
    )
    assert solution.success, solution.message
    return np.exp(solution.y.T)
