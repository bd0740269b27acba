"""Tables of all classes by all classes or samples, a bounded part at a time; sums over the samples of each class."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

# 32 MB of float64. What fits is computed at once.
LARGEST = 2**22


def tiles(rows: int, entries: int) -> list[slice]:
    """Consecutive parts of ``rows`` rows of ``entries`` numbers each, each part within the largest size."""
    step = max(1, LARGEST // max(1, entries))
    return [slice(first, min(first + step, rows)) for first in range(0, rows, step)]


class Membership:
    """Which samples are in which class.

    ``counts`` n_k [K], ``first`` the index of the first sample of each class [K] (any index for a class without one).
    Sums are products with the one-hot matrix [N, K], so that they are the same in every run on the same device. Where
    that matrix is large, samples are sorted by class first, and a part of them meets a few classes only.
    """

    def __init__(self, labels: Int[Tensor, " N"], num_classes: int) -> None:
        self._num_classes = num_classes
        self._whole: Tensor | None = None
        if len(labels) * num_classes <= LARGEST:
            self._whole = _one_hot(labels, num_classes)
            self.counts: Float[Tensor, " K"] = self._whole.sum(0)
            self.first: Int[Tensor, " K"] = self._whole.max(0).indices
            return
        self._sorted, self._order = labels.sort(stable=True)
        edges = torch.searchsorted(self._sorted, torch.arange(num_classes + 1, device=labels.device))
        self.counts = edges.diff().double()
        self.first = self._order[edges[:-1].clamp(max=len(labels) - 1)]

    def sums(self, values: Float[Tensor, "*batch N"]) -> Float[Tensor, "*batch K"]:
        """Σ over the samples of each class."""
        if self._whole is not None:
            return values @ self._whole
        total = values.new_zeros(*values.shape[:-1], self._num_classes)
        for part in tiles(len(self._order), 4096):
            classes, members = torch.unique_consecutive(self._sorted[part], return_inverse=True)
            here = values.index_select(-1, self._order[part]) @ _one_hot(members, len(classes))
            total[..., classes] = total[..., classes] + here
        return total


def _one_hot(labels: Tensor, num_classes: int) -> Tensor:
    return torch.nn.functional.one_hot(labels, num_classes).double()
