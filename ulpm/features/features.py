"""Features of a network with their labels, in memory or in a file of any size, and the metrics of both."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ulpm import _checks
from ulpm.features.classes import Classes, listed
from ulpm.features.columns import Column
from ulpm.features.report import CollapseReport, report_of
from ulpm.metrics.tiles import tiles
from ulpm.problem import Problem, from_features
from ulpm.state import State

__all__ = ["Features"]

# The square of a larger number, summed over samples, is near the end of float64.
_LARGEST = 1e150


@dataclasses.dataclass(frozen=True, eq=False)
class Features:
    """N samples of a network: h_i in R^d with label y_i, and perhaps the classifier's W [K, d], b [K] or predictions.

    ``ulpm.load_features`` and ``Features.of`` make them.

    Attributes:
        column: Where the features [N, d] are. They are read a part at a time.
        labels: Class indices [N] in 0 … K−1.
        class_names: What the labels were before [K].
        classifier: W [K, d], or None.
        bias: b [K], or None.
        predictions: Predicted class indices [N], or None.
    """

    column: Column
    labels: Int[Tensor, " N"]
    class_names: tuple[str, ...]
    classifier: Float[Tensor, "K d"] | None = None
    bias: Float[Tensor, " K"] | None = None
    predictions: Int[Tensor, " N"] | None = None

    @classmethod
    def of(
        cls,
        features: Float[Tensor, "N d"],
        labels: Int[Tensor, " N"] | Sequence[str],
        classifier: Float[Tensor, "K d"] | None = None,
        bias: Float[Tensor, " K"] | None = None,
        predictions: Int[Tensor, " N"] | Sequence[str] | None = None,
    ) -> "Features":
        """Features in memory.

        Args:
            features: h_i as rows [N, d], float32 or float64.
            labels: Of each sample [N], any integers or text.
            classifier: W [K, d], float32 or float64, its rows in the order of the sorted labels.
            bias: b [K], beside the classifier.
            predictions: Of each sample the predicted label [N], in the same form as ``labels``; or logits [N, K].

        Returns:
            The same as one value.

        Raises:
            TypeError: If an argument is of another type.
            ValueError: For shapes that do not fit, entries that are not finite, labels that do not fit the
                classifier, or predictions that are none of the labels.

        >>> features = ulpm.Features.of(torch.eye(4), ["cat", "dog", "cat", "dog"])
        >>> features.class_names, features.labels.tolist()
        (('cat', 'dog'), [0, 1, 0, 1])
        """
        given = _checks.floating("features", features).detach().cpu()
        column = Column.of(given.numpy(force=True), "features")
        predicted = None if predictions is None else Column.of(_array("predictions", predictions), "predictions")
        return cls.fitting(column, _array("labels", labels), "labels", classifier, bias, predictions=predicted)

    @classmethod
    def fitting(
        cls,
        column: Column,
        labels: np.ndarray,
        what: str,
        classifier: Tensor | None = None,
        bias: Tensor | None = None,
        names: np.ndarray | None = None,
        predictions: Column | None = None,
    ) -> "Features":
        """The same of arrays, if all fit together; predictions may be logits [N, K]. Raises: as ``of``."""
        if classifier is not None:
            _checks.shape("the classifier", _checks.floating("the classifier", classifier), None, None)
        classes = Classes.of(labels, what, None if classifier is None else len(classifier), names)
        if len(classes.names) < 2:
            raise ValueError(f"{what} must have two classes or more, but there is only {classes.names[0]}.")
        indices, num_samples = classes.indices(labels, what), len(labels)
        column = _samples_in_rows(column, num_samples, what)
        if classifier is not None:
            if classifier.shape != (len(classes.names), column.shape[1]):
                raise ValueError(
                    f"the classifier must have shape [{len(classes.names)}, {column.shape[1]}], a row a class, but its "
                    f"shape is {list(classifier.shape)}."
                )
            classifier = classifier.detach().cpu()
        if bias is not None:
            if classifier is None:
                raise ValueError("a bias needs the classifier that it belongs to, but there is none: give both.")
            _checks.floating("the bias", bias)
            if bias.shape != (len(classes.names),):
                raise ValueError(
                    f"the bias must have shape [{len(classes.names)}], but its shape is {list(bias.shape)}."
                )
            bias = bias.detach().cpu()
        predicted = None if predictions is None else _predicted(predictions, classes, num_samples)
        return cls(column, indices, classes.names, classifier, bias, predicted)

    @property
    def num_samples(self) -> int:
        """The number N of samples."""
        return self.column.shape[0]

    @property
    def feature_dim(self) -> int:
        """The dimension d of the features."""
        return self.column.shape[1]

    @property
    def num_classes(self) -> int:
        """The number K of classes."""
        return len(self.class_names)

    def tiles(self) -> Iterator[tuple[slice, Float[Tensor, "n d"]]]:
        """Consecutive parts of the features of at most 32 MB in float64, each with the samples that it holds.

        Raises:
            OSError: If the file cannot be read.
            ValueError: For features that are not finite or beyond 1e150.
        """
        size = tiles(self.num_samples, self.feature_dim)[0].stop
        first = 0
        for part in self.column.parts(size):
            H = numbers(part)
            # False for NaN, too.
            if not bool((H.abs() <= _LARGEST).all()):
                raise ValueError(self._complaint(H, first))
            yield slice(first, first + len(H)), H
            first += len(H)
        if first != self.num_samples:
            raise OSError(f"{self.column.words} has {first} rows where {self.num_samples} were announced.")

    def _complaint(self, H: Float[Tensor, "n d"], first: int) -> str:
        """What is wrong with features that are not finite, or too large."""
        infinite = (~torch.isfinite(H)).any(1).nonzero()
        if len(infinite):
            return f"{self.column.words} must be finite, but row {first + int(infinite[0, 0])} has NaN or infinity."
        sizes = H.abs().amax(1)
        return (
            f"{self.column.words} must be at most {_LARGEST:.0e} in size, as their squares are summed, but row "
            f"{first + int(sizes.argmax())} has {float(sizes.max()):.2g}: divide them all by one number."
        )

    def measure(self) -> CollapseReport:
        """Every metric of neural collapse that these data have, of all and class by class, in two passes.

        Returns:
            A CollapseReport.

        Raises:
            OSError: If the file cannot be read.
            ValueError: For features that are not finite.

        >>> problem = ulpm.Problem([5] * 3, feature_dim=4)
        >>> state = ulpm.collapsed_state(problem)
        >>> report = ulpm.Features.of(state.H.T, problem.labels, state.W).measure()
        >>> bool(report.metrics["nc1_distance"] < 1e-12), report.metrics["nc4_mismatch"]
        (True, 0.0)
        """
        facts = (self.class_names, self.labels, self.classifier, self.bias, self.predictions)
        return report_of(self.tiles, self.feature_dim, *facts)

    def state(self) -> tuple[Problem, State]:
        """The model whose free features start at these, with W and b, in float64 and in memory.

        Returns:
            The problem, and the state with its columns sorted by class.

        Raises:
            OSError: If the file cannot be read.
            ValueError: Without a classifier, or for features that are not finite.
        """
        if self.classifier is None:
            raise ValueError(f"a state needs the classifier W beside {self.column.words}, but there is none: give it.")
        H = torch.cat([part.double() for _, part in self.tiles()])
        problem, state = from_features(H, self.labels, self.classifier.double())
        if self.bias is None:
            return problem, state
        problem = dataclasses.replace(problem, bias=True)
        return problem, State(state.W, state.H, self.bias.double())


def _samples_in_rows(column: Column, num_samples: int, what: str) -> Column:
    """The column, transposed if its columns are the samples. Raises: ValueError if it is no matrix of samples."""
    if len(column.shape) != 2 or 0 in column.shape:
        raise ValueError(f"{column.words} must have shape [N, d], a row a sample, but its shape is {_shape(column)}.")
    if column.shape[0] == num_samples:
        return column
    if column.shape[1] == num_samples:
        return Column.of(column.all().T, column.name, column.file)
    raise ValueError(
        f"{column.words} must have a row for each of the {num_samples} of {what}, but its shape is {_shape(column)}."
    )


def _predicted(column: Column, classes: Classes, num_samples: int) -> Int[Tensor, " N"]:
    """Predicted classes, which are given as labels or as logits."""
    sizes = [num_samples] if len(column.shape) == 1 else [num_samples, len(classes.names)]
    if _shape(column) != sizes:
        raise ValueError(
            f"{column.words} must have shape [{num_samples}] or, of logits, [{num_samples}, {len(classes.names)}], but "
            f"its shape is {_shape(column)}."
        )
    if len(sizes) == 1:
        return _as_indices(column.all(), classes, column.words)
    found = []
    for part in column.parts(tiles(num_samples, sizes[1])[0].stop):
        if part.dtype.kind != "f" or not np.isfinite(part).all():
            raise ValueError(f"{column.words} must be finite floating-point numbers, but they are not.")
        found.append(torch.from_numpy(part.argmax(1)))
    return torch.cat(found)


def _as_indices(predictions: np.ndarray, classes: Classes, words: str) -> Int[Tensor, " N"]:
    """Predicted labels as class indices. Raises: ValueError for a prediction that is none of the labels."""
    indices = classes.indices(predictions, words)
    unknown = np.unique(predictions[(indices < 0).numpy()])
    if len(unknown):
        raise ValueError(
            f"{words} must be labels, of {listed(classes.names)}, but {listed(unknown)} is none: give the labels that "
            "are predicted, not indices of them, or give logits [N, K]."
        )
    return indices


def _shape(column: Column) -> list[int]:
    return list(column.shape)


def numbers(part: np.ndarray) -> Tensor:
    """A part in the machine's byte order, and in float32 or float64."""
    # What torch shares must be writable, which the buffers of tables are not.
    return torch.from_numpy(np.require(part, np.float64 if part.dtype.itemsize > 4 else np.float32, ["C", "W"]))


def _array(name: str, values: Tensor | Sequence[str]) -> np.ndarray:
    """An array of numbers or text. Raises: TypeError with the name of the argument if it is none."""
    if isinstance(values, Tensor):
        _checks.has_numbers(name, values)
        # numpy has no bfloat16.
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy(force=True)
    try:
        array = np.array(values)
    except ValueError:
        raise TypeError(f"{name} must be a list of integers or text, but {_checks.shown(values)} was given.") from None
    # As pandas gives columns of text.
    is_text = array.dtype == object and all(isinstance(value, str) for value in array.flat)
    return array.astype(np.str_) if is_text else array
