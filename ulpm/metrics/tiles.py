"""Tables of all classes by all classes or samples, a bounded part at a time; sums over the samples of each class."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

# 32 MB of float64. What fits is computed at once.
LARGEST = 2**22
# 1 MB.
SMALL = 2**17


def many(classes: int) -> bool:
    """Whether a table of all classes by all classes leaves the cache, so that parts of one half of it are faster."""
    return 8 * classes * classes > LARGEST


def tiles(rows: int, entries: int) -> list[slice]:
    """Consecutive parts of ``rows`` rows of ``entries`` numbers each, each part within the largest size."""
    return _parts(rows, LARGEST // max(1, entries))


def column_tiles(matrix: Float[Tensor, "*batch d N"]) -> list[slice]:
    """Consecutive parts of the columns, which on a CPU stay in its cache: for what is made only to be summed up."""
    entries = matrix.shape[:-1].numel()
    # A few columns of many matrices would lie far apart.
    cached = matrix.device.type == "cpu" and entries == matrix.shape[-2]
    return _parts(matrix.shape[-1], (SMALL if cached else LARGEST) // max(1, entries))


def _parts(rows: int, step: int) -> list[slice]:
    return [slice(first, min(first + max(1, step), rows)) for first in range(0, rows, max(1, step))]


class Membership:
    """Which samples are in which class.

    ``counts`` n_k [K], ``first`` the index of the first sample of each class [K] (any index for a class without one).
    Sums are products with the one-hot matrix [N, K], so that they are the same in every run on the same device. Where
    that matrix is large, samples are sorted by class first, and a part of them meets a few classes only.
    """

    def __init__(self, labels: Int[Tensor, " N"], num_classes: int) -> None:
        self._num_classes, self._labels = num_classes, labels
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

    def columns(self, of_classes: Float[Tensor, "*batch d K"], part: slice) -> Float[Tensor, "*batch d n"]:
        """For each of a part of the samples the column of its class."""
        if self._whole is None:
            return of_classes.index_select(-1, self._labels[part])
        # Exact, as every other summand is 0, and some times as fast.
        return of_classes @ self._whole[part].mT

    def minus(
        self, samples: Float[Tensor, "*batch d N"], of_classes: Float[Tensor, "*batch d K"]
    ) -> Float[Tensor, "*batch d N"]:
        """Samples less the column of their class."""
        parts = column_tiles(samples)
        if len(parts) == 1:
            return samples - self.columns(of_classes, parts[0])
        result = torch.empty_like(samples)
        for part in parts:
            torch.sub(samples[..., part], self.columns(of_classes, part), out=result[..., part])
        return result

    def subtract_(self, samples: Float[Tensor, "*batch d N"], of_classes: Float[Tensor, "*batch d K"]) -> None:
        """Take the column of their class off samples, in place."""
        for part in column_tiles(samples):
            samples[..., part].sub_(self.columns(of_classes, part))


def column_squares(matrix: Float[Tensor, "*batch d N"]) -> Float[Tensor, "*batch N"]:
    """The sum of squares of each column."""
    return side_by_side([matrix[..., part].square().sum(-2) for part in column_tiles(matrix)])


def side_by_side(parts: list[Float[Tensor, "*batch _"]]) -> Float[Tensor, "*batch N"]:
    """Parts of a row put together."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, -1)


def _one_hot(labels: Tensor, num_classes: int) -> Tensor:
    return torch.nn.functional.one_hot(labels, num_classes).double()
