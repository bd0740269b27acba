"""Tables of all classes by all classes or samples, a bounded part at a time; sums over the samples of each class."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ulpm._blocks import LARGEST, blocks, over_blocks, parts


def many(classes: int) -> bool:
    """Whether a table of all classes by all classes leaves the cache, so that parts of one half of it are faster."""
    return 8 * classes * classes > LARGEST


def tiles(rows: int, entries: int) -> list[slice]:
    """Consecutive parts of ``rows`` rows of ``entries`` numbers each, each part within the largest size."""
    return parts(rows, LARGEST // max(1, entries))


class Membership:
    """Which samples are in which class.

    ``counts`` n_k [K], ``first`` the index of the first sample of each class [K] (any index for a class without one).
    Sums are products with the one-hot matrix [K, N], so that they are the same in every run on the same device. Where
    that matrix is large, samples are sorted by class first, and a part of them meets a few classes only. With ``even``,
    for samples that are sorted by class and as many in each, classes are an axis of their own, and nothing is
    multiplied.
    """

    def __init__(self, labels: Int[Tensor, " N"], num_classes: int, even: bool = False) -> None:
        self._num_classes, self._labels, self._even = num_classes, labels, even
        self._whole: Tensor | None = None
        if even:
            each = len(labels) // num_classes
            self.counts: Float[Tensor, " K"] = labels.new_full((num_classes,), each, dtype=torch.float64)
            self.first: Int[Tensor, " K"] = torch.arange(0, len(labels), each, device=labels.device)
            return
        if len(labels) * num_classes <= LARGEST:
            self._whole = _one_hot(labels, num_classes)
            self.counts = self._whole.sum(1)
            self.first = self._whole.max(1).indices
            return
        self._sorted, self._order = labels.sort(stable=True)
        edges = torch.searchsorted(self._sorted, torch.arange(num_classes + 1, device=labels.device))
        self.counts = edges.diff().double()
        self.first = self._order[edges[:-1].clamp(max=len(labels) - 1)]

    def sums(self, values: Float[Tensor, "*batch N"]) -> Float[Tensor, "*batch K"]:
        """Σ over the samples of each class."""
        if self._even:
            return values.view(*values.shape[:-1], self._num_classes, -1).sum(-1)
        if self._whole is not None:
            return values @ self._whole.mT
        total = values.new_zeros(*values.shape[:-1], self._num_classes)
        for part in tiles(len(self._order), 4096):
            classes, members = torch.unique_consecutive(self._sorted[part], return_inverse=True)
            here = values.index_select(-1, self._order[part]) @ _one_hot(members, len(classes)).mT
            total[..., classes] = total[..., classes] + here
        return total

    def minus(
        self, samples: Float[Tensor, "*batch d N"], of_classes: Float[Tensor, "*batch d K"]
    ) -> Float[Tensor, "*batch d N"]:
        """Samples less the column of their class."""
        return self.about(samples, of_classes)[0]

    def about(
        self, samples: Float[Tensor, "*batch d N"], of_classes: Float[Tensor, "*batch d K"]
    ) -> tuple[Float[Tensor, "*batch d N"], Float[Tensor, "*batch d K"]]:
        """Samples less the column of their class, and the sums of these over each class."""
        result, sums = torch.empty_like(samples), []
        for rows, columns in blocks(samples):
            out = result[..., rows, columns]
            part = self._beside(samples[..., rows, columns], of_classes, rows, columns)
            torch.sub(*part, out=self._by_class(out, columns))
            if columns == slice(None):
                sums.append(self.sums(out))
        return result, torch.cat(sums, -2) if sums else self.sums(result)

    def subtract_(self, samples: Float[Tensor, "*batch d N"], of_classes: Float[Tensor, "*batch d K"]) -> None:
        """Take the column of their class off samples, in place."""
        for rows, columns in blocks(samples):
            part, own = self._beside(samples[..., rows, columns], of_classes, rows, columns)
            part.sub_(own)

    def squares_with(
        self, samples: Float[Tensor, "*batch d N"], of_classes: Float[Tensor, "*batch d K"]
    ) -> Float[Tensor, "*batch N"]:
        """The sum of squares of each sample plus the column of its class."""
        return over_blocks(samples, lambda rows, columns: self._squares(samples, of_classes, rows, columns))

    def squares_apart_(
        self,
        samples: Float[Tensor, "*batch d N"],
        subtracted: Float[Tensor, "*batch d K"],
        of_classes: Float[Tensor, "*batch d K"],
    ) -> Float[Tensor, " 2 *batch N"]:
        """``subtract_``, then the sum of squares of each sample alone and ``squares_with``, all in one pass."""

        def squares(rows: slice, columns: slice) -> Tensor:
            part, own = self._beside(samples[..., rows, columns], subtracted, rows, columns)
            alone = part.sub_(own).square().reshape(samples[..., rows, columns].shape)
            return torch.stack([alone.sum(-2), self._squares(samples, of_classes, rows, columns)])

        return over_blocks(samples, squares)

    def _squares(self, samples: Tensor, of_classes: Tensor, rows: slice, columns: slice) -> Tensor:
        part = samples[..., rows, columns]
        return torch.add(*self._beside(part, of_classes, rows, columns)).square_().reshape(part.shape).sum(-2)

    def _beside(self, samples: Tensor, of_classes: Tensor, rows: slice, columns: slice) -> tuple[Tensor, Tensor]:
        """Some rows of some samples, and the columns of their classes, which broadcast against them."""
        of_classes = of_classes[..., rows, :]
        if self._even and columns == slice(None):
            return self._by_class(samples, columns), of_classes[..., None]
        if self._whole is None:
            return samples, of_classes.index_select(-1, self._labels[columns])
        # Exact, as every other summand is 0, and some times as fast.
        return samples, of_classes @ self._whole[:, columns]

    def _by_class(self, matrix: Tensor, columns: slice) -> Tensor:
        """Classes as an axis of their own, if that is how samples lie."""
        if self._even and columns == slice(None):
            return matrix.view(*matrix.shape[:-1], self._num_classes, -1)
        return matrix


def column_squares(matrix: Float[Tensor, "*batch d N"]) -> Float[Tensor, "*batch N"]:
    """The sum of squares of each column."""
    return over_blocks(matrix, lambda rows, columns: matrix[..., rows, columns].square().sum(-2))


def _one_hot(labels: Tensor, num_classes: int) -> Tensor:
    return (torch.arange(num_classes, device=labels.device)[:, None] == labels).double()
