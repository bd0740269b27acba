"""At which epochs a monitor measures."""

import math
from collections.abc import Collection
from typing import Literal

import numpy as np
from torch import Tensor

from ulpm import _checks

__all__ = ["Every", "is_due", "schedule"]

Every = int | Literal["log"] | Collection[int]

_EACH_UNTIL, _PER_DOUBLING = 10, 4


def schedule(every: Every) -> int | Literal["log"] | frozenset[int]:
    """``every``, checked. Raises: TypeError or ValueError if it is no schedule."""
    if isinstance(every, str):
        if every == "log":
            return "log"
        raise ValueError(
            f"every must be 'log', a number of epochs or a list of epochs, but it is {_checks.shown(every)}."
        )
    if isinstance(every, Tensor):
        _checks.has_numbers("every", every)
    if isinstance(every, np.ndarray | Tensor):
        every = every.tolist()
    if isinstance(every, Collection):
        if not every:
            raise ValueError("every must list at least one epoch, but it is empty: nothing would be measured.")
        return frozenset(_checks.integer("an epoch in every", epoch, 0) for epoch in every)
    return _checks.integer("every", every, 1)


def is_due(epoch: int, every: int | Literal["log"] | frozenset[int]) -> bool:
    """Whether ``epoch`` is measured: a multiple of a number, one of a list, or with "log" each of the first 10 (0 among
    them), then those that 2^(j/4) is rounded to, four whenever the epoch doubles.

    >>> [epoch for epoch in range(60) if is_due(epoch, "log")]
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 16, 19, 23, 27, 32, 38, 45, 54]
    """
    if every == "log":
        if epoch <= _EACH_UNTIL:
            return True
        nearest = round(_PER_DOUBLING * math.log2(epoch))
        return epoch in (round(2 ** (j / _PER_DOUBLING)) for j in (nearest - 1, nearest, nearest + 1))
    return epoch in every if isinstance(every, frozenset) else epoch % every == 0
