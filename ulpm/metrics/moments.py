"""Class means and within-class covariance in one pass over the samples, exact for collapsed features.

A class's sums are taken about one of its own samples, r_k, never about the origin: h − r_k is then free of rounding
when the features are collapsed, and the correction n_k‖μ_k − r_k‖² that removes the reference is at most n_k times
the variance, whereas E‖h‖² − ‖μ‖² cancels all digits.
"""

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ulpm import _checks, _memory
from ulpm._blocks import LARGEST
from ulpm.metrics.absent import require_two
from ulpm.metrics.grid import Grid
from ulpm.metrics.precision import BITS_OF_HALVES, bits_of, epsilon_of, format_bits, glance
from ulpm.metrics.tiles import Membership

# So many classes without samples are named, the others counted.
_NAMED = 20
# Squares between these are normal numbers, and so are sums of many of them.
_SMALLEST, _LARGEST = 1e-145, 1e145


@dataclass(frozen=True)
class ClassStatistics:
    """What the metrics need to know of the features; everything is float64.

    Class means are relative to ``origin``, a point close to the features, so that a common offset costs no digits.
    ``variance_along(U)`` gives u_rᵀ Σ_W u_r for the columns u_r of U [..., d, R], as a tensor [..., R], and
    ``epsilon()`` the machine epsilon of the format of the features. Both are functions, as few callers need them.
    """

    counts: Float[Tensor, " K"]
    origin: Float[Tensor, "*batch d 1"]
    means: Float[Tensor, "*batch d K"]
    within_traces: Float[Tensor, "*batch K"]
    variance_along: Callable[[Tensor], Tensor]
    epsilon: Callable[[], float]

    @functools.cached_property
    def shares(self) -> Float[Tensor, " K"]:
        """n_k/N."""
        return self.counts / self.counts.sum()

    @functools.cached_property
    def squared_sizes(self) -> Float[Tensor, "*batch K"]:
        """‖μ_k‖² + v_k, the mean of ‖h‖² in each class: rounding is relative to the whole of a feature."""
        return (self.origin + self.means).square().sum(-2) + self.within_traces


def require_every_class(counts: Float[Tensor, " K"]) -> None:
    """Raise ValueError naming the classes without samples: their mean does not exist."""
    absent = torch.nonzero(counts == 0).flatten().tolist()
    if absent:
        named, others = ", ".join(map(str, absent[:_NAMED])), len(absent) - _NAMED
        names = "class " + named if len(absent) == 1 else "classes " + named
        names += f" … ({others} more)" if others > 0 else ""
        raise ValueError(
            f"every one of the {len(counts)} classes needs a sample, but {names} has none: "
            "add samples, or renumber the labels and drop the classifier rows of absent classes."
        )


def require_moderate(largest: Float[Tensor, ""]) -> None:
    """Raise ValueError if squares of features up to this size, or their sums, are beyond float64."""
    size = float(largest)
    if size and not _SMALLEST < size < _LARGEST:
        raise ValueError(
            f"features must be of a size between {_SMALLEST:g} and {_LARGEST:g}, so that their squares are numbers, "
            f"but the largest is {size:.3g}: scale them, which no metric sees."
        )


class ClassMoments:
    """First and second moments of the features of each class, accumulated in float64 batch by batch.

    With e_i = h_i − r_{y_i}, r_k the first sample seen of class k, it holds

        counts n_k [K],  references r_k [K, d],  sums Σ_{i∈k} e_i [K, d],  squares Σ_{i∈k} ‖e_i‖² [K],
        scatter Σ_i e_i e_iᵀ [d, d] (all classes pooled),  bits, the significant bits of the features so far,
        grid, only while bfloat16 or float16 hold the features: the spread and spacing of each entry in each class.

    One-hot matrix products do the sums, so the result is the same in every run on the same device. Parts held by
    several workers are joined with :meth:`merge`; a class may be absent from a part, but not from the whole.

    With ``means`` [K, d], one a row, these stand in place of the class means μ_k, and all moments are about them:
    v_k = n_k⁻¹ Σ_{i∈k} ‖h_i − μ_k‖² and Σ_W alike. So test data are measured about the class means of training data.

    Args:
        num_classes: The number K ≥ 2 of classes.
        feature_dim: The dimension d ≥ 1 of the features.
        device: Where the moments are kept; it must have float64.
        means: Vectors [K, d] that stand in place of the class means, or None.

    Raises:
        TypeError: For an argument of another type.
        ValueError: For sizes below 2 classes or 1 feature, an unknown device, or means that do not fit.

    Source: shifted data algorithm, Chan, Golub & LeVeque, 1983.

    >>> moments = ulpm.ClassMoments(num_classes=2, feature_dim=3)
    >>> moments.update(torch.eye(3), torch.tensor([0, 1, 1]))
    >>> other = ulpm.ClassMoments(num_classes=2, feature_dim=3)
    >>> other.update(torch.ones(1, 3), torch.tensor([0]))
    >>> moments.merge(other)
    >>> moments.counts.tolist()
    [2.0, 2.0]
    """

    def __init__(
        self,
        num_classes: int,
        feature_dim: int,
        device: str | torch.device = "cpu",
        means: Float[Tensor, "K d"] | None = None,
    ) -> None:
        self.num_classes = _checks.integer("num_classes", num_classes, 2)
        self.feature_dim = _checks.integer("feature_dim", feature_dim, 1)
        self.device = _checks.device(str(device), torch.float64)
        if self.device.type == "cpu":
            K, d = self.num_classes, self.feature_dim
            _memory.require(8 * d * (2 * K + d), "class moments of this size")

        def zeros(*size: int) -> Tensor:
            return torch.zeros(size, dtype=torch.float64, device=self.device)

        self.counts = zeros(num_classes)
        self.references = zeros(num_classes, feature_dim)
        self.sums = zeros(num_classes, feature_dim)
        self.squares = zeros(num_classes)
        self.scatter = zeros(feature_dim, feature_dim)
        self.bits = 0
        self.grid: Grid | None = None
        self.about_given_means = means is not None
        if means is not None:
            if _checks.floating("means", means).shape != self.references.shape:
                raise ValueError(
                    f"means must have shape {list(self.references.shape)}, one class mean a row, "
                    f"but its shape is {list(means.shape)}."
                )
            self.references = means.detach().to(self.references, copy=True)

    def update(self, h: Float[Tensor, "B d"], y: Int[Tensor, " B"]) -> None:
        """Add samples with their classes.

        Args:
            h: The features [B, d], one sample a row, float32 or float64. B may be 0.
            y: The classes [B] in 0 … K−1.

        Raises:
            TypeError: If h is not floating, or y no integers.
            ValueError: If the shapes do not fit, a label is no class index, or h is not finite.
        """
        self._fits(h)
        y = _checks.one_a_sample("y", y, len(h)).to(self.device)
        if len(h) == 0:
            return
        h = h.detach().to(self.device).double()
        # One transfer from a device for all that has to be known.
        seen = (torch.linalg.vector_norm(h, torch.inf), *torch.aminmax(y), glance(h))
        largest, lowest, highest, bit = torch.stack([number.double() for number in seen]).tolist()
        _checks.finite("h", largest)
        _checks.class_indices("y", lowest, highest, self.num_classes)
        self._note_format(format_bits(h, few=bits_of(int(bit))))
        if len(h) * self.num_classes > LARGEST:
            self._update_few(h, y)
            return
        membership = Membership(y, self.num_classes)
        self._adopt(h[membership.first], membership.counts)
        shifted = h - self.references[y]
        self.counts += membership.counts
        self.sums += membership.sums(shifted.mT).mT
        self.squares += membership.sums(shifted.square().sum(1))
        if self.grid is not None:
            self.grid.add(h, shifted, membership)
        self.scatter.addmm_(shifted.mT, shifted)

    def _update_few(self, h: Tensor, y: Tensor) -> None:
        """``update`` where there are many classes: it touches those of the batch only."""
        classes, members = torch.unique(y, return_inverse=True)
        membership = Membership(members, len(classes))
        if not self.about_given_means:
            unseen = self.counts[classes] == 0
            self.references[classes[unseen]] = h[membership.first[unseen]]
        shifted = h - self.references[y]
        self.counts[classes] += membership.counts
        self.sums[classes] += membership.sums(shifted.mT).mT
        self.squares[classes] += membership.sums(shifted.square().sum(1))
        if self.grid is not None:
            self.grid.add(h, shifted, membership, classes)
        self.scatter.addmm_(shifted.mT, shifted)

    def merge(self, other: "ClassMoments") -> None:
        """Add the samples that ``other`` has seen; ``other`` stays as it is.

        Its sums are moved to this object's references, δ_k = r'_k − r_k: Σ(e + δ) and Σ(e + δ)(e + δ)ᵀ.

        Args:
            other: Moments of the same K classes and d features. With given means, about the same means.

        Raises:
            TypeError: If ``other`` is no ClassMoments.
            ValueError: If the numbers of classes or features, or the given means, differ.
        """
        if not isinstance(other, ClassMoments):
            raise TypeError(f"other must be a ClassMoments, but a {type(other).__name__} was given.")
        if other.references.shape != self.references.shape:
            raise ValueError(
                "only moments with the same numbers of classes and features can be merged, "
                f"but these are {list(self.references.shape)} and {list(other.references.shape)}."
            )
        if self.about_given_means != other.about_given_means or (
            self.about_given_means and not torch.equal(self.references, other.references.to(self.device))
        ):
            raise ValueError("only moments about the same given means can be merged: give both the same means.")
        counts, references, sums, squares, scatter = (
            part.to(self.device) for part in (other.counts, other.references, other.sums, other.squares, other.scatter)
        )
        self._adopt(references, counts)
        # A class that the other part has not seen has no reference there; its δ is multiplied by zero sums and counts.
        delta = references - self.references
        cross = sums.mT @ delta
        self.scatter += scatter + cross + cross.mT + delta.mT @ (counts[:, None] * delta)
        self._note_format(other.bits)
        if other.grid is None and other.bits:
            self.grid = None
        elif self.grid is not None and other.grid is not None:
            self.grid.merge(other.grid, sums, counts, delta)
        self.squares += squares + 2 * (sums * delta).sum(1) + counts * delta.square().sum(1)
        self.sums += sums + counts[:, None] * delta
        self.counts += counts

    def absent_classes(self) -> list[int]:
        """The classes without samples."""
        absent: list[int] = torch.nonzero(self.counts == 0).flatten().tolist()
        return absent

    def without_absent(self) -> "ClassMoments":
        """Moments of the classes that have samples alone, in the same order; a copy.

        Raises:
            ValueError: If fewer than two classes have samples.
        """
        present = self.counts > 0
        require_two(present)
        left = copy.copy(self)
        left.num_classes = int(present.sum())
        for name in ("counts", "references", "sums", "squares"):
            setattr(left, name, getattr(self, name)[present])
        left.scatter = self.scatter.clone()
        if self.grid is not None:
            left.grid = Grid(self.grid.squares[present], self.grid.powers[present])
        return left

    def class_means(self) -> Float[Tensor, "K d"]:
        """μ_k, one a row [K, d].

        Raises:
            ValueError: If a class has no sample.
        """
        require_every_class(self.counts)
        return self.references + self._mean_shifts()

    def centered(self, h: Float[Tensor, "B d"], y: Int[Tensor, " B"]) -> Float[Tensor, "B d"]:
        """h_i − μ_{y_i} in float64, exact for collapsed features.

        Args:
            h: The features [B, d], one sample a row.
            y: The classes [B] in 0 … K−1.

        Returns:
            The deviations [B, d], on the device of the moments.

        Raises:
            TypeError: If h is not floating, or y no integers.
            ValueError: If a class has no sample, the shapes do not fit, a label is no class index, or h is not finite.
        """
        require_every_class(self.counts)
        self._fits(h)
        _checks.floating("h", h)
        y = _checks.labels("y", y, len(h), self.num_classes).to(self.device)
        return (h.to(self.references) - self.references[y]) - self._mean_shifts()[y]

    def within_traces(self) -> Float[Tensor, " K"]:
        """v_k [K], the mean of ‖h − μ_k‖² in class k.

        Raises:
            ValueError: If a class has no sample.
        """
        require_every_class(self.counts)
        return (self.squares / self.counts - self._mean_shifts().square().sum(1)).clamp_min(0.0)

    def within_covariance(self) -> Float[Tensor, "d d"]:
        """Σ_W = N⁻¹ Σ_i (h_i − μ_{y_i})(h_i − μ_{y_i})ᵀ [d, d].

        Raises:
            ValueError: If a class has no sample.
        """
        require_every_class(self.counts)
        return (self.scatter - self.sums.mT @ self._mean_shifts()) / self.counts.sum()

    def statistics(self) -> ClassStatistics:
        """What :func:`ulpm.neural_collapse_from_moments` reads.

        Raises:
            ValueError: If a class has no sample, or squares of the features are no numbers in float64.
        """
        require_moderate(torch.maximum(self.references.abs().amax(), self.sums.abs().amax()))
        covariance = self.within_covariance()
        origin = self.references[:1]
        return ClassStatistics(
            counts=self.counts.clone(),
            origin=origin.mT.clone(),
            means=((self.references - origin) + self._mean_shifts()).mT,
            within_traces=self.within_traces(),
            variance_along=lambda U: (U * (covariance @ U)).sum(-2).clamp_min(0.0),
            epsilon=lambda: epsilon_of(self.bits),
        )

    def _fits(self, h: Tensor) -> None:
        """Raise TypeError or ValueError unless this is a floating tensor [B, d]."""
        _checks.real_numbers("h", h)
        if h.ndim != 2 or h.shape[1] != self.feature_dim:
            raise ValueError(
                f"h must have shape [B, {self.feature_dim}], one sample a row, but its shape is {list(h.shape)}."
            )

    def _note_format(self, bits: int) -> None:
        """Samples of so many significant bits follow. A grid is kept from the first one on, until one is finer."""
        if max(self.bits, bits) > BITS_OF_HALVES:
            self.grid = None
        elif self.bits == 0 and self.grid is None:
            self.grid = Grid.like(self.sums)
        self.bits = max(self.bits, bits)

    def _mean_shifts(self) -> Tensor:
        """μ_k − r_k, [K, d]."""
        if self.about_given_means:
            return torch.zeros_like(self.sums)
        return self.sums / self.counts[:, None]

    def _adopt(self, references: Tensor, counts: Tensor) -> None:
        """Take the reference samples of the classes that are seen for the first time."""
        if self.about_given_means:
            return
        first_seen = (self.counts == 0) & (counts > 0)
        self.references = torch.where(first_seen[:, None], references, self.references)
