"""nc1 of features as they were before they were rounded to bfloat16 or float16, which spreads them."""

import torch
from jaxtyping import Float
from torch import Tensor

from ulpm.metrics.centre import Center, centring_weights
from ulpm.metrics.evaluation import metrics_of_statistics
from ulpm.metrics.moments import ClassMoments
from ulpm.metrics.pairs import variance_sums
from ulpm.metrics.precision import epsilon_of
from ulpm.metrics.variability import pinv_columns

# A normal entry whose variance reads 5 Δ²/12 spreads over 0.58 Δ. Its correction is off by at most 0.6% of its
# variance, wherever the grid lies; it would be 3% at 4 Δ²/12, and 17% at 3 Δ²/12.
_RESOLVED = 5.0
# A value is given if it is known to this share of it.
_KNOWN = 0.01


def unrounded_nc1(moments: ClassMoments, center: Center = "classes") -> dict[str, Float[Tensor, ""]]:
    """Three metrics of variability without the variance that rounding to bfloat16 or float16 adds.

    Near h with 2^e ≤ abs(h) < 2^(e+1), numbers of a format of machine epsilon ε are Δ = ε 2^e apart, in float16 with
    e ≥ −14. Rounding to them adds Δ²/12 to a variance (Sheppard's correction). With v_ka the mean of (h_a − μ_ka)² in
    class k, and r_ka that of Δ²/12 times 1 − 1/n_k, the formulas of nc1_ratio, nc1_cdnv and nc1_pinv get

        v_k − Σ_a min(r_ka, v_ka)  for  v_k,       Σ_W − diag_a(Σ_k (n_k/N) min(r_ka, v_ka))  for  Σ_W

    An entry with v_ka < 5 r_ka is in doubt, as its class has to spread over the grid. So is one with samples on both
    sides of a power of two, where Δ changes. The mean of what rounding adds is removed. Its random part, of variance
    (4/n_k) v_ka r_ka an entry and K nc1 times as much of class means, stays. A value is NaN where the format does not
    resolve it: where the r_ka in doubt and two standard deviations of the random part make more than 1% of it.
    nc1_pinv is also NaN where it leaves a direction out: rounding of the means would explain that one, which may have
    made most of nc1_pinv before.

    Only the last rounding is removed. Features in float32 and float64 are read as they are, and so are averages of
    rounded ones. Features in float16 that are all below 1.5e-5 cannot be told from bfloat16.

    Args:
        moments: The moments of the features of K classes.
        center: What stands for μ_G, as in :func:`ulpm.neural_collapse`.

    Returns:
        A mapping from nc1_ratio_unrounded, nc1_cdnv_unrounded and nc1_pinv_unrounded to float64 scalars without a unit.

    Raises:
        TypeError: For anything but ClassMoments.
        ValueError: For moments about given means, a class without samples, or an unknown ``center``.

    Source: Sheppard, 1898.

    >>> generator = torch.Generator().manual_seed(0)
    >>> y = torch.arange(2).repeat_interleave(500)
    >>> noise = 0.01 * torch.randn(1000, 64, generator=generator, dtype=torch.float64)
    >>> moments = ulpm.ClassMoments(num_classes=2, feature_dim=64)
    >>> moments.update((noise + 1.3 * (2 * y[:, None] - 1)).bfloat16().float(), y)  # nc1_ratio is 0.01²/1.3²
    >>> plain = ulpm.neural_collapse_from_moments(moments, torch.eye(2, 64))["nc1_ratio"]
    >>> unrounded = ulpm.metrics.unrounded_nc1(moments)["nc1_ratio_unrounded"]
    >>> [round(float(value) * 1.3**2 / 0.01**2, 2) for value in (plain, unrounded)]
    [1.05, 1.0]
    """
    if not isinstance(moments, ClassMoments):
        raise TypeError(f"moments must be a ClassMoments, but a {type(moments).__name__} was given.")
    if moments.about_given_means:
        raise ValueError("moments must be about the class means of their own samples, but means were given.")
    statistics, grid, epsilon = moments.statistics(), moments.grid, epsilon_of(moments.bits)
    plain = metrics_of_statistics(statistics, statistics.means.mT, center)
    value = torch.stack([plain[key] for key in ("nc1_ratio", "nc1_cdnv", "nc1_pinv")])
    if epsilon < torch.finfo(torch.float16).eps:
        return _named(value)
    if grid is None:
        # Moments that were put together without one.
        return _named(torch.where(value.isinf(), value, torch.nan))
    counts, K = statistics.counts, len(statistics.counts)
    M = statistics.means - statistics.means @ centring_weights(counts, center)[:, None]
    X, shares, n = pinv_columns(M, statistics), counts / counts.sum(), counts[:, None]
    # The first two metrics are sums of weights times v_k, the third is the trace of Xᵀ Σ_W X.
    of_pairs = variance_sums(statistics.means, torch.ones_like(counts))[0] / (K * (K - 1))
    weights = torch.stack([shares * (K / M.square().sum()), of_pairs])

    def of(variances: Float[Tensor, "K d"]) -> Float[Tensor, " 3"]:
        """What independent entries of these variances add to the metrics."""
        return torch.cat([weights @ variances.sum(1), (shares @ variances @ X.square().sum(1))[None]])

    powers = grid.powers / n
    # float16 has equally spaced numbers below its smallest normal one, 6e-5, which features may reach.
    smallest = torch.finfo(torch.float16).smallest_normal if epsilon == torch.finfo(torch.float16).eps else 0.0
    rounding = epsilon**2 / 12 * powers.clamp_min(smallest**2) * (1 - 1 / n)
    spread = (grid.squares / n - (moments.sums / n).square()).clamp_min(0.0)
    # The mean of equal powers of four is one, that of different ones is none.
    two_sided = torch.frexp(powers).mantissa != 0.5
    in_doubt = of(torch.where((spread < _RESOLVED * rounding) | two_sided, rounding, 0.0))
    # 4 v r/n of each entry, times squares of the weights; weights come first, as squares of a variance may overflow.
    of_traces = ((weights[..., None] * spread) * (weights[..., None] * rounding) / n).sum((1, 2))
    of_pinv = ((X.mT @ moments.within_covariance() @ X) * (X.mT * (shares @ rounding) @ X)).sum() / counts.sum()
    # Rounded means add this times nc1, and K times as much where two means, or one direction, make most of nc1.
    deviation = 2 * (torch.cat([of_traces, of_pinv[None]]) * (1 + K * value)).sqrt()
    corrected = value - of(torch.minimum(rounding, spread))
    known = in_doubt + 2 * deviation <= _KNOWN * corrected
    # A direction that rounding of the means explains may have made most of nc1_pinv before.
    known[2] &= ~(X == 0).all(0).any()
    return _named(torch.where(value.isinf(), value, torch.where(known, corrected, torch.nan)))


def _named(values: Float[Tensor, " 3"]) -> dict[str, Float[Tensor, ""]]:
    return dict(zip(("nc1_ratio_unrounded", "nc1_cdnv_unrounded", "nc1_pinv_unrounded"), values, strict=True))
