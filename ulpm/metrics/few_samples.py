"""nc1 of a population from few samples a class, where the plain metrics read too little."""

import math
import warnings

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from ulpm.metrics.centre import Center, centring_weights
from ulpm.metrics.moments import ClassMoments
from ulpm.metrics.tiles import tiles

# Fourth powers of numbers between these are normal numbers.
_MODERATE = (1e-60, 1e60)


def few_sample_nc1(moments: ClassMoments, center: Center = "classes") -> dict[str, Float[Tensor, ""]]:
    """Three metrics of variability with the bias of class means of n_k samples removed.

    A sample mean is drawn towards its samples, so that v_k reads (1 − 1/n_k) of the variance, and it is off its
    population by τ_k = v̂_k/n_k in the mean square, so that means read too far apart. With v̂_k = v_k n_k/(n_k − 1), the
    weights p of μ_G (1/K, or n_k/N with ``center="samples"``), C = I − p 1ᵀ, ν = N − K, Σ̂ = (N/ν) Σ_W and
    t = ν²/((ν+2)(ν−1)) (tr Σ̂² − (tr Σ̂)²/ν), the unbiased estimate of tr Σ² for normal features:

        nc1_ratio_corrected     Σ_k (n_k/N) v̂_k / ((‖M‖² − Σ_k τ_k (1 − 2p_k + K p_k²)) / K)
        nc1_cdnv_corrected      mean over j < k of (v̂_j + v̂_k) / (2 (‖μ_j − μ_k‖² − τ_j − τ_k))
        nc1_pinv_corrected      tr(G†² A),  G = MᵀM − Cᵀ diag(τ) C,  A = MᵀΣ̂M − t Cᵀ diag(1/n) C

    Numerators and denominators are unbiased each (that of nc1_pinv if classes share their covariance), quotients up to
    second order. A denominator that is not positive gives inf: these samples do not show that the means differ. A class
    with one sample gives NaN. nc1_pinv_corrected takes the population's means for of rank min(K − 1, d).

    Args:
        moments: The moments of the features of K classes.
        center: What stands for μ_G, as in :func:`ulpm.neural_collapse`.

    Returns:
        A mapping from these three keys to float64 scalars without a unit.

    Raises:
        TypeError: For anything but ClassMoments.
        ValueError: For moments about given means, which have no such bias, a class without samples, or an unknown
            ``center``.

    >>> moments = ulpm.ClassMoments(num_classes=2, feature_dim=1)
    >>> moments.update(torch.tensor([[0.0], [2.0], [9.0], [11.0]]), torch.tensor([0, 0, 1, 1]))
    >>> round(float(ulpm.metrics.few_sample_nc1(moments)["nc1_cdnv_corrected"]), 6)  # 2 / (81 − 2)
    0.025316
    """
    if not isinstance(moments, ClassMoments):
        raise TypeError(f"moments must be a ClassMoments, but a {type(moments).__name__} was given.")
    if moments.about_given_means:
        raise ValueError("means that are given have no bias to correct: take the plain metrics.")
    statistics = moments.statistics()
    n, means = statistics.counts, statistics.means
    K, N = len(n), n.sum()
    p = centring_weights(n, center)
    v = statistics.within_traces * n / (n - 1)
    tau = v / n
    C = torch.eye(K, dtype=n.dtype, device=n.device) - p[:, None]
    M = means - means @ p[:, None]
    spread = (M.square().sum() - tau @ (1 - 2 * p + K * p.square())) / K
    dof = N - K
    covariance = moments.within_covariance() * (N / dof)
    ratio, cdnv = _quotient((n / N) @ v, spread), _pairs(means.mT, v, tau)
    size = float(M.abs().max())
    if size > 0 and not _MODERATE[0] < size < _MODERATE[1]:
        # What follows has fourth powers of entries. Powers of two change no digit of a quotient.
        unit = 2.0 ** -math.frexp(size)[1]
        M, tau, covariance = M * unit, tau * unit**2, covariance * unit**2
    square = dof.square() / ((dof + 2) * (dof - 1)) * (covariance.square().sum() - covariance.trace().square() / dof)
    # Along p there is nothing but rounding, which must not pass for one of the largest eigenvalues.
    basis = torch.linalg.qr(p[:, None], mode="complete").Q[:, 1:]
    M, C = M @ basis, C @ basis
    G = M.mT @ M - C.mT @ (tau[:, None] * C)
    A = M.mT @ covariance @ M - square * C.mT @ (C / n[:, None])
    return {
        "nc1_ratio_corrected": ratio,
        "nc1_cdnv_corrected": cdnv,
        "nc1_pinv_corrected": _trace(G, A, len(means), bool((n > 1).all())),
    }


def warn_of_single_samples(counts: Shaped[Tensor, " K"]) -> None:
    """Say which classes have one sample, of which nc1 says nothing."""
    single = torch.nonzero(counts == 1).flatten().tolist()
    if single:
        named = ", ".join(map(str, single[:5])) + (", …" if len(single) > 5 else "")
        warnings.warn(
            f"{len(single)} of {len(counts)} classes have one sample (class {named}): "
            "it lies on its class mean whatever the network does, so nc1 says nothing about these; add samples.",
            stacklevel=3,
        )


def _quotient(above: Tensor, below: Tensor) -> Tensor:
    return torch.where(below <= 0, torch.inf, above / below)


def _pairs(means: Tensor, v: Tensor, tau: Tensor) -> Tensor:
    K = len(means)
    total = torch.zeros_like(v[0])
    for rows in tiles(K, K):
        later = slice(rows.start, K)
        squares = torch.cdist(means[rows], means[later], compute_mode="donot_use_mm_for_euclid_dist").square()
        terms = _quotient(v[rows, None] + v[later], 2 * (squares - tau[rows, None] - tau[later]))
        total = total + torch.where(torch.ones_like(terms, dtype=torch.bool).triu(1), terms, 0.0).sum()
    return total / (K * (K - 1) / 2)


def _trace(G: Tensor, A: Tensor, rank: int, defined: bool) -> Tensor:
    """tr(G†² A) with the largest ``rank`` eigenvalues of G."""
    if not defined:
        return G.new_full((), torch.nan)
    eigenvalues, V = torch.linalg.eigh(G)
    eigenvalues, V = eigenvalues[-rank:], V[:, -rank:]
    trace = ((V * (A @ V)).sum(0) / eigenvalues.square()).sum()
    return torch.where(eigenvalues[0] <= 0, torch.inf, trace)
