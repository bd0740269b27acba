"""What is subtracted from class means: their own mean, or that of all samples."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ulpm import _checks
from ulpm.metrics.moments import ClassStatistics

__all__ = ["Center", "centring_weights", "grand_mean", "require_center"]

Center = Literal["classes", "samples"]


def grand_mean(statistics: ClassStatistics) -> Float[Tensor, "*batch d 1"]:
    """h̄, the mean of all samples, relative to the origin of the statistics."""
    mean: Tensor = statistics.means @ statistics.shares[:, None]
    return mean


def centring_weights(counts: Float[Tensor, " K"], center: Center) -> Float[Tensor, " K"]:
    """The weights of the class means in μ_G. Raises: ValueError for an unknown centre."""
    require_center(center)
    return counts / counts.sum() if center == "samples" else torch.full_like(counts, 1 / len(counts))


def require_center(center: object) -> None:
    """Raise ValueError for an unknown centre."""
    if center not in ("classes", "samples"):
        raise ValueError(f"center must be 'classes' or 'samples', but {_checks.shown(center)} was given.")
