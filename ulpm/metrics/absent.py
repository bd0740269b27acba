"""Classes of which a sample has no member: left out on request, and found again in values of each class."""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ulpm import _checks

__all__ = ["Absent", "in_all_classes", "leaves_out", "renumbered", "require_two"]

Absent = Literal["refuse", "leave out"]


def leaves_out(absent: str) -> bool:
    """Whether classes without samples are left out. Raises: ValueError for an unknown word."""
    if absent not in ("refuse", "leave out"):
        raise ValueError(f"absent must be 'refuse' or 'leave out', but {_checks.shown(absent)} was given.")
    return absent == "leave out"


def require_two(present: Bool[Tensor, " K"]) -> None:
    """Raise ValueError if fewer than two classes have samples."""
    if int(present.sum()) < 2:
        raise ValueError(
            f"neural collapse needs samples of at least two classes, but {int(present.sum())} of {len(present)} "
            "classes has any: add samples."
        )


def renumbered(labels: Int[Tensor, " N"], present: Bool[Tensor, " K"]) -> Int[Tensor, " N"]:
    """Labels counted among the classes that are present, in the same order."""
    return (present.cumsum(0) - 1)[labels]


def in_all_classes(values: Float[Tensor, "*batch P"], present: Bool[Tensor, " K"]) -> Float[Tensor, "*batch K"]:
    """Values of the classes that are present at the places of all classes, NaN for the others."""
    everywhere = values.new_full((*values.shape[:-1], len(present)), torch.nan)
    everywhere[..., present] = values
    return everywhere
