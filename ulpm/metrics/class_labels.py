"""Class indices from the forms in which data sets have labels."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from ulpm import _checks
from ulpm.metrics.batches import IGNORED

__all__ = ["as_labels", "class_indices", "next_tokens"]


def as_labels(labels: Any) -> Tensor:
    """Labels as a tensor. Raises: TypeError for strings, and for what no tensor can be made of."""
    if isinstance(labels, Tensor):
        return labels
    if _has_strings(labels):
        raise TypeError(
            "labels must be class indices, but they are strings: encode them once, for example with "
            "index = {name: k for k, name in enumerate(sorted(set(names)))}."
        )
    if isinstance(labels, np.ndarray | list | tuple) and len(labels):
        try:
            return torch.as_tensor(np.asarray(labels), device="cpu")
        except (TypeError, ValueError):
            pass
    raise TypeError(f"labels must be a tensor of class indices, but they are {type(labels).__name__}.")


def class_indices(labels: Tensor, logits: tuple[int, ...]) -> Int[Tensor, "*positions"]:
    """Class indices [B] or [B, ...], −100 where there is no sample, for logits of shape [B, ..., K] or [B, K].

    One-hot labels [B, K] or [B, ..., K] have one 1 in each row. Others stay as they are.

    Raises: ValueError for labels of the shape of the logits that are not one-hot, TypeError for numbers that are no
    integers.
    """
    shape, one_a_sample = tuple(labels.shape), (logits[0], logits[-1])
    if labels.ndim < 2 or shape not in (logits, one_a_sample) or shape == logits[:-1]:
        return _checks.whole_numbers("y", labels)
    ones = labels == 1
    if not bool((ones.sum(-1) == 1).all()) or not bool((ones | (labels == 0)).all()):
        raise ValueError(
            f"labels of shape {list(labels.shape)} must be one-hot, one 1 in each row and 0 elsewhere, but they are "
            "not: give class indices, which soft labels (mixup, smoothing) do not have."
        )
    return ones.long().argmax(-1)


def next_tokens(labels: Int[Tensor, "B T"]) -> Int[Tensor, "B T"]:
    """At each position the label of the next one, and −100 at the last."""
    return torch.nn.functional.pad(labels[:, 1:], (0, 1), value=IGNORED)


def _has_strings(labels: Any) -> bool:
    if isinstance(labels, str | bytes):
        return True
    if isinstance(labels, np.ndarray):
        return labels.dtype.kind in "USO" and any(isinstance(label, str | bytes) for label in labels.flat)
    return (
        isinstance(labels, Iterable)
        and not isinstance(labels, Mapping)
        and any(isinstance(label, str | bytes) for label in labels)
    )
