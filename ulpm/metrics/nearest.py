"""The nearest class mean of each sample, also where means are so close that their scores agree in all digits."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ulpm.metrics.moments import ClassStatistics
from ulpm.metrics.tiles import tiles


def nearest_class(
    statistics: ClassStatistics, H: Float[Tensor, "*batch d N"], close: bool = True
) -> Int[Tensor, "*batch N"]:
    """argmin_k ‖h_i − μ_k‖ = argmax_k (⟨h_i, μ_k⟩ − ‖μ_k‖²/2), about the origin of the statistics; H is float64.

    The scores cancel where means are ``close`` to each other for their size. Those that rounding may have put in the
    wrong order are compared by ‖h − μ_j‖² − ‖h − μ_k‖² = ⟨2(h − μ_j) − δ, δ⟩ with δ = μ_k − μ_j, which does not.
    """
    means, origin = statistics.means, statistics.origin
    offsets = means.square().sum(-2)[..., None] / 2
    # Not argmax, which takes seven times as long along this axis.
    if not close:
        return (means.mT @ H).sub_(offsets + means.mT @ origin).max(-2).indices
    centred = H - origin
    scores: Tensor = means.mT @ centred
    best, nearest = scores.sub_(offsets).max(-2)
    return _among_equals(means, centred, scores, best, nearest)


def _among_equals(means: Tensor, centred: Tensor, scores: Tensor, best: Tensor, nearest: Tensor) -> Tensor:
    largest = means.square().sum(-2).amax(-1, keepdim=True)
    sizes = (centred.square().sum(-2) * largest).sqrt() + largest
    error = (means.shape[-2] + 8) * torch.finfo(means.dtype).eps * sizes
    rivals = scores >= (best - error)[..., None, :]
    unsure = rivals.sum(-2) > 1
    if not bool(unsure.any()):
        return nearest
    K, N = scores.shape[-2:]
    means, centred, leader = (
        means.reshape(-1, *means.shape[-2:]),
        centred.reshape(-1, *centred.shape[-2:]),
        nearest.reshape(-1, N),
    )
    gains = torch.full_like(scores, -torch.inf).reshape(-1, K, N)
    replica, rival, sample = (rivals & unsure[..., None, :]).reshape(-1, K, N).nonzero(as_tuple=True)
    for part in tiles(len(sample), means.shape[-2]):
        b, k, i = replica[part], rival[part], sample[part]
        from_leader = means[b, :, leader[b, i]]
        difference = means[b, :, k] - from_leader
        gains[b, k, i] = ((2 * (centred[b, :, i] - from_leader) - difference) * difference).sum(-1)
    return torch.where(unsure, gains.reshape(scores.shape).max(-2).indices, nearest)
