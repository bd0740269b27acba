"""Samples reduced to the statistics of their classes, of which all metrics but nc4_mismatch are made."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ulpm.distributed import ALONE, Shard
from ulpm.metrics.moments import ClassStatistics, require_every_class
from ulpm.metrics.precision import epsilon_of, format_bits
from ulpm.metrics.tiles import Membership

__all__ = ["members", "statistics_of"]


def members(
    labels: Int[Tensor, " N"], num_classes: int, shard: Shard = ALONE, even: bool = False
) -> tuple[Membership, Float[Tensor, " K"]]:
    """Which samples are in which class, and how many of all processes; ``even`` as for a Membership.

    Raises: ValueError if a class has none.
    """
    membership = Membership(labels, num_classes, even)
    counts = shard.all_reduce(membership.counts)
    require_every_class(counts)
    return membership, counts


def statistics_of(
    H: Float[Tensor, "*batch d N"], membership: Membership, counts: Float[Tensor, " K"], shard: Shard = ALONE
) -> tuple[ClassStatistics, Float[Tensor, "*batch"]]:
    """Class statistics of samples that are all there, and nc1_distance, a mean over the samples themselves.

    Deviations are centred twice, about a sample, then the mean.
    """
    references = shard.first(H.index_select(-1, membership.first), membership.counts)
    deviations, sums = membership.about(H, references)
    mean_shifts = shard.all_reduce(sums) / counts
    origin, num_samples = references[..., :1], counts.sum()
    means = (references - origin) + mean_shifts
    centres = means - means @ (counts / num_samples)[:, None]
    squares, about_mean = membership.squares_apart_(deviations, mean_shifts, centres)
    statistics = ClassStatistics(
        counts=counts,
        origin=origin,
        means=means,
        within_traces=shard.all_reduce(membership.sums(squares)) / counts,
        variance_along=lambda U: shard.all_reduce((U.mT @ deviations).square().sum(-1)) / num_samples,
        epsilon=lambda: epsilon_of(max(shard.all_gather(torch.tensor(format_bits(H), device=H.device)).tolist())),
    )
    within, total = shard.all_reduce(torch.stack([squares, about_mean]).sqrt_().sum(-1))
    return statistics, within / total
