"""Features, labels and the classifier from files: which array is which."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ulpm.features.columns import ENDINGS, Column, open_columns
from ulpm.features.features import Features, numbers

__all__ = ["NAMES", "load_features"]

NAMES: Mapping[str, tuple[str, ...]] = {
    "features": ("features", "H", "X", "embeddings"),
    "labels": ("labels", "y", "targets"),
    "classifier": ("weight", "W", "classifier"),
    "bias": ("bias", "b"),
    "predictions": ("predictions", "logits"),
    "classes": ("classes", "class_names"),
}
"""The names under which an array is looked for, unless another one is given."""


def load_features(
    file: str | os.PathLike[str],
    *,
    features: str | None = None,
    labels: str | os.PathLike[str] | None = None,
    classifier: str | os.PathLike[str] | None = None,
    bias: str | os.PathLike[str] | None = None,
    predictions: str | os.PathLike[str] | None = None,
    classes: str | os.PathLike[str] | None = None,
) -> Features:
    """Features [N, d], labels [N] and what else is there, from a .npz, .npy, .safetensors or .parquet file.

        features      features, H, X or embeddings        [N, d], or [d, N] with samples as columns
        labels        labels, y or targets                [N], any integers or text, in any order
        classifier    weight, W or classifier             [K, d], optional
        bias          bias or b                           [K], optional, beside the classifier
        predictions   predictions or logits               [N] of labels, or [N, K], optional
        classes       classes or class_names              [K], the classes in the order of rows, optional

    These are the names that are looked for. A square array of features has samples as rows. Rows of the classifier are
    in the order of ``classes``; without them, integer labels in 0 … K−1 are indices of rows, and other labels belong to
    the rows in sorted order. Text that is an integer counts as this integer.

    Features are read when they are used, at most 32 MB at a time: .npy files and uncompressed .npz files are mapped
    into memory, so that they may be larger than it. In .parquet files features are one column of vectors, or all
    columns of floating-point numbers that have no other use; they need the package pyarrow (``ulpm[parquet]``).

    Args:
        file: The file that holds the features.
        features: The name of their array, if it is another one.
        labels: The name of the array of labels, or another file that holds one array or one of such a name.
        classifier: The same of W.
        bias: The same of b.
        predictions: The same of the predictions.
        classes: The same of the names of the classes.

    Returns:
        The Features. Those in the file are not read yet.

    Raises:
        OSError: If a file is missing or damaged.
        ValueError: If an array is missing, arrays do not fit together, or a file has another ending.
        ImportError: For a .parquet file without pyarrow.

    >>> import os, tempfile, numpy
    >>> file = os.path.join(tempfile.mkdtemp(), "features.npz")
    >>> numpy.savez(file, X=torch.eye(4), y=["dog", "cat", "dog", "cat"])
    >>> features = ulpm.load_features(file)
    >>> features.num_samples, features.class_names
    (4, ('cat', 'dog'))
    """
    path = Path(file)
    columns = open_columns(path)
    given = {"labels": labels, "classifier": classifier, "bias": bias, "predictions": predictions, "classes": classes}
    # What was named for one role is not looked at for another.
    named = {str(choice) for choice in (features, *given.values()) if choice is not None}
    rest = {name: column for name, column in columns.items() if name not in named}
    found = {role: _found(role, choice, path, columns, rest) for role, choice in given.items()}
    used = [column.name for column in found.values() if column is not None and column.file == path]
    column = _features(features, path, columns, {name: each for name, each in rest.items() if name not in used})
    label_column = found["labels"]
    if label_column is None:
        raise ValueError(
            f"{path} must hold labels [N] under the name {_either(NAMES['labels'])}, but it holds {_kept(columns)}: "
            "say which array or which other file they are."
        )
    try:
        return Features.fitting(
            column,
            _vector(label_column),
            label_column.words,
            _tensor(found["classifier"]),
            _tensor(found["bias"]),
            None if found["classes"] is None else _vector(found["classes"]),
            found["predictions"],
        )
    except ValueError as error:
        raise error if str(path) in str(error) else ValueError(f"{path}: {error}") from None


def _found(
    role: str,
    choice: str | os.PathLike[str] | None,
    path: Path,
    columns: Mapping[str, Column],
    rest: Mapping[str, Column],
) -> Column | None:
    """The array of a role, one of the ``rest`` unless it was named; None if there is none and none was asked for."""
    if choice is None:
        return _by_name(role, path, rest)
    if not _is_file(choice):
        return _named(str(choice), path, columns)
    other = open_columns(Path(choice))
    if len(other) == 1:
        return next(iter(other.values()))
    column = _by_name(role, Path(choice), other)
    if column is None:
        raise ValueError(
            f"{choice} must hold {role} under the name {_either(NAMES[role])}, but it holds {_kept(other)}."
        )
    return column


def _features(name: str | None, path: Path, columns: Mapping[str, Column], rest: Mapping[str, Column]) -> Column:
    if name is not None:
        return _floating(_named(name, path, columns))
    column = columns.get("") or _by_name("features", path, rest)
    if column is not None:
        return _floating(column)
    wide = [each for each in rest.values() if len(each.shape) == 1 and each.dtype in ("float", "double", "halffloat")]
    if path.suffix.lower() == ".parquet" and wide:
        return _floating(Column.beside(wide, "features"))
    raise ValueError(
        f"{path} must hold features [N, d] under the name {_either(NAMES['features'])}, but it holds {_kept(columns)}: "
        "say which array they are."
    )


def _by_name(role: str, path: Path, columns: Mapping[str, Column]) -> Column | None:
    present = [name for name in NAMES[role] if name in columns]
    if len(present) > 1:
        raise ValueError(f"{path} holds {' and '.join(present)}, which may both be {role}: say which of them to take.")
    return columns[present[0]] if present else None


def _named(name: str, path: Path, columns: Mapping[str, Column]) -> Column:
    if name not in columns:
        raise ValueError(f"{path} holds no array {name!r:.80}: it holds {_kept(columns)}.")
    return columns[name]


def _floating(column: Column) -> Column:
    """Raises: ValueError if a column does not hold floating-point numbers."""
    if not any(kind in column.dtype.lower() for kind in ("float", "double", "f16", "f32", "f64")):
        raise ValueError(
            f"{column.words} must hold floating-point numbers, but its type is {column.dtype}: convert it to float32."
        )
    return column


def _tensor(column: Column | None) -> Tensor | None:
    if column is None:
        return None
    tensor = numbers(_floating(column).all())
    if not bool(torch.isfinite(tensor).all()):
        raise ValueError(f"{column.words} must be finite, but it has NaN or infinity.")
    return tensor


def _vector(column: Column) -> np.ndarray:
    if len(column.shape) != 1:
        raise ValueError(
            f"{column.words} must have one axis, but its shape is {list(column.shape)}: store class indices or names, "
            "of one-hot rows those of the ones."
        )
    return column.all()


def _is_file(choice: str | os.PathLike[str]) -> bool:
    return not isinstance(choice, str) or Path(choice).suffix.lower() in ENDINGS


def _either(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _kept(columns: Mapping[str, Column]) -> str:
    """What a file holds, in words."""
    if not columns:
        return "nothing"
    shown = [f"{name or 'one array'} {list(column.shape)}" for name, column in columns.items()]
    return ", ".join(shown[:12]) + (", …" if len(shown) > 12 else "")
