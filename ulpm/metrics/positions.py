"""From what a layer gives to one row a sample: maps are pooled, or each labelled position is a sample."""

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from ulpm.metrics.batches import IGNORED

__all__ = ["fits", "masked", "pooled", "rows", "valid_positions"]


def pooled(values: Shaped[Tensor, "B ..."], first: bool, mask: Tensor | None = None) -> Shaped[Tensor, "B d"]:
    """The mean over positions of [B, d, ...] (``first``) or [B, ..., d], in the dtype of the values.

    Where a mask ``fits``, it is the mean over its positions.
    """
    if values.ndim <= 2:
        return values
    if mask is None or not fits(mask, values, first):
        return values.flatten(2).mean(2) if first else values.flatten(1, -2).mean(1)
    # Sums of many tokens are beyond half formats, and what is not there may be anything.
    there = (mask != 0)[..., None]
    wide = torch.promote_types(values.dtype, torch.float32)
    tokens = values.mT if first else values
    mean = torch.where(there, tokens, 0.0).sum(1, dtype=wide) / there.sum(1).clamp_min(1)
    return mean.to(values.dtype)


def fits(mask: Tensor, values: Shaped[Tensor, "B ..."], first: bool) -> bool:
    """Whether a mask [B, T] has the positions of values [B, d, T] (``first``) or [B, T, d]."""
    return values.ndim == 3 and mask.shape == (values.shape[0], values.shape[2 if first else 1])


def masked(labels: Int[Tensor, "B T"], mask: Tensor | None) -> Int[Tensor, "B T"]:
    """Labels, −100 where a mask of their positions is 0."""
    if mask is None or mask.shape != labels.shape:
        return labels
    return labels.masked_fill((mask == 0).to(labels.device), IGNORED)


def rows(values: Shaped[Tensor, "B ..."], first: bool, labels: Int[Tensor, "..."]) -> Float[Tensor, "N d"]:
    """A row for each label: the values at its position, or the pooled ones of its sample if labels are [B].

    Raises: ValueError with one sentence if the positions of labels and values differ.
    """
    if values.ndim == 2 and len(values) == labels.numel():
        return values
    at_positions = values.movedim(1, -1) if first else values
    positions = at_positions.shape[:-1]
    if positions != labels.shape:
        of_positions = f", or {list(positions)}, one a position" if len(positions) > 1 else ""
        raise ValueError(
            f"labels must have shape {[len(values)]}, one a sample{of_positions}, but it is {list(labels.shape)}."
        )
    return at_positions.flatten(0, -2)


def valid_positions(labels: Int[Tensor, "B ..."], mask: Tensor | None) -> Bool[Tensor, " N"]:
    """Which labels are of samples: not −100, and in the mask if labels are those of its positions."""
    valid = labels != IGNORED
    if mask is not None and mask.shape == labels.shape:
        valid = valid & (mask != 0).to(valid.device)
    return valid.flatten()
