"""How many directions features, class means and deviations from them fill."""

import torch
from jaxtyping import Float
from torch import Tensor

from ulpm.metrics.centre import grand_mean
from ulpm.metrics.moments import ClassMoments, ClassStatistics
from ulpm.metrics.rounding import rounding_of_means, rounding_of_samples

__all__ = ["feature_rank"]

_RELATIVE_CUT = 1e-12


def feature_rank(moments: ClassMoments) -> dict[str, Float[Tensor, ""]]:
    """Three ranks of the features about their mean, of the class means, and of the deviations from class means.

    With the singular values s_1 ≥ s_2 ≥ … of [h_i − h̄], of M = [μ_k − μ_G] or of [h_i − μ_{y_i}], and p_r = s_r/Σ s:

        numerical_rank_*    how many s_r are there that neither arithmetic nor the format of the features explains
        stable_rank_*       Σ_r s_r² / s_1²                     (Rudelson & Vershynin, 2007)
        effective_rank_*    exp(−Σ_r p_r log p_r)               (Roy & Vetterli, 2007)

    for * = features, means, within. Those left out of the first are left out of all. At collapse the class means have
    rank K − 1 and equal singular values, so that all three are K − 1, and so have the features; ``within`` vanishes
    while its ranks need not. Features and deviations come as d × d moments, in which a singular value below about
    1e-8 √d of the largest is lost in rounding; class means resolve 1e-12.

    Args:
        moments: The moments of the features. Their scale does not matter.

    Returns:
        A mapping from these nine keys to float64 scalars. Where no singular value is left (equal features) the
        numerical rank is 0 and the others are NaN.

    Raises:
        TypeError: For anything but ClassMoments.
        ValueError: For a class without samples.

    >>> moments = ulpm.ClassMoments(num_classes=4, feature_dim=6)
    >>> moments.update(ulpm.simplex_etf(4, 6), torch.arange(4))
    >>> ranks = ulpm.feature_rank(moments)
    >>> [round(float(ranks[f"{kind}_rank_means"]), 10) for kind in ("numerical", "stable", "effective")]
    [3.0, 3.0, 3.0]
    """
    if not isinstance(moments, ClassMoments):
        raise TypeError(f"moments must be a ClassMoments, but a {type(moments).__name__} was given.")
    statistics = moments.statistics()
    shares = statistics.counts / statistics.counts.sum()
    within = moments.within_covariance()
    centred = statistics.means - grand_mean(statistics)
    between = (centred * shares) @ centred.mT
    if moments.about_given_means:
        # The deviations do not add up to 0 class by class, as they do about the class means of the samples.
        cross = centred @ (moments.sums / statistics.counts.sum())
        between = between + cross + cross.mT
    M = statistics.means - statistics.means.mean(-1, keepdim=True)
    noise = rounding_of_samples(statistics) @ shares
    of_means = torch.linalg.svdvals(M)
    floor = torch.maximum(_RELATIVE_CUT * of_means[0], rounding_of_means(statistics))
    return (
        _ranks("features", *_spectrum(within + between, statistics, noise))
        | _ranks("means", of_means, floor)
        | _ranks("within", *_spectrum(within, statistics, noise))
    )


def _spectrum(covariance: Tensor, statistics: ClassStatistics, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Singular values, as roots of eigenvalues, and what they must exceed."""
    eigenvalues = torch.linalg.eigvalsh(covariance).flip(0).clamp_min(0.0)
    arithmetic = len(covariance) * torch.finfo(covariance.dtype).eps * eigenvalues[0]
    return eigenvalues.sqrt(), torch.maximum(arithmetic, noise).sqrt()


def _ranks(name: str, values: Tensor, floor: Tensor) -> dict[str, Tensor]:
    kept = values > floor
    values = torch.where(kept, values, 0.0) / values[0]
    shares = values / values.sum()
    entropy = -torch.xlogy(shares, shares).sum()
    some = kept.any()
    return {
        f"numerical_rank_{name}": kept.sum().double(),
        f"stable_rank_{name}": torch.where(some, values.square().sum(), torch.nan),
        f"effective_rank_{name}": torch.where(some, entropy.exp(), torch.nan),
    }
