"""Φ and its gradient in plain numpy, sample by sample in the factors, and its minimum by scipy, without ulpm."""

import numpy as np
from scipy.optimize import minimize
from scipy.sparse.linalg import LinearOperator, minres


def labels_of(counts):
    return np.repeat(np.arange(len(counts)), counts)


def targets_of(counts, smoothing=0.0):
    K = len(counts)
    return ((1 - smoothing) * np.eye(K) + smoothing / K)[:, labels_of(counts)]


def loss_and_gradient(kind, smoothing, counts, Z):
    """Summed over samples, with −(targets − prediction)."""
    targets = targets_of(counts, smoothing)
    if kind == "squared":
        return 0.5 * np.square(Z - targets).sum(), Z - targets
    top = Z.max(0)
    e = np.exp(Z - top)
    return (np.log(e.sum(0)) + top - (targets * Z).sum(0)).sum(), e / e.sum(0) - targets


def objective(kind, smoothing, counts, decay, reduction, bias, W, H, b):
    """(Φ, gradients in W, H, b)."""
    unit = sum(counts) if reduction == "mean" else 1
    L, G = loss_and_gradient(kind, smoothing, counts, W @ H + b[:, None])
    λ_W, λ_H = decay
    value = L / unit + λ_W / 2 * np.square(W).sum() + λ_H / 2 * np.square(H).sum()
    return value, G @ H.T / unit + λ_W * W, W.T @ G / unit + λ_H * H, bias * G.sum(1) / unit


def minimum(kind, smoothing, counts, d, decay, reduction, bias, seed=0):
    """(Φ, W, H, b) where L-BFGS ends from a random start, and Newton's method then.

    Values alone, by which L-BFGS searches along a line, see half the digits of a minimum.
    """
    K, N = len(counts), sum(counts)

    def parts(v):
        return v[: K * d].reshape(K, d), v[K * d : K * d + d * N].reshape(d, N), v[K * d + d * N :]

    def flat(v):
        value, *gradients = objective(kind, smoothing, counts, decay, reduction, bias, *parts(v))
        return value, np.concatenate([g.ravel() for g in gradients])

    start = np.random.default_rng(seed).standard_normal(K * d + d * N + K)
    start[K * d + d * N :] = 0
    options = {"maxiter": 20000, "maxfun": 40000, "ftol": 0.0, "gtol": 1e-13, "maxcor": 40}
    v = minimize(flat, start, jac=True, method="L-BFGS-B", options=options).x

    def curvature(u):
        h = 1e-5 / max(np.linalg.norm(u), 1e-300)
        return (flat(v + h * u)[1] - flat(v - h * u)[1]) / (2 * h)

    for _ in range(3):
        v = v - minres(LinearOperator((len(v), len(v)), matvec=curvature, dtype=float), flat(v)[1], rtol=1e-5)[0]
    return flat(v)[0], *parts(v)
