"""Labels of any kind, integers or text, as class indices 0 … K−1 and the names of these classes."""

import dataclasses
import re
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

__all__ = ["Classes", "listed"]

_SHOWN = 5
# Up to 18 digits, which int64 has.
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")


@dataclasses.dataclass(frozen=True, eq=False)
class Classes:
    """Classes in the order of their indices: ``values`` [K], as labels have them, and ``names``, as people do."""

    values: np.ndarray
    names: tuple[str, ...]

    @classmethod
    def of(cls, labels: np.ndarray, what: str, rows: int | None = None, names: np.ndarray | None = None) -> "Classes":
        """The classes that ``labels`` are of.

        ``names``, if given, are the classes in the order of the classifier's rows, and labels are names or indices of
        rows. Without them, integers in 0 … rows − 1 are indices of rows; all other labels are sorted, and the k-th of
        them belongs to the k-th row. Text that is an integer counts as this one.

        Raises: ValueError with one sentence if labels are neither integers nor text, or not as many classes as rows.
        """
        present = np.unique(_plain(labels, what))
        if names is not None:
            return _named(present, _plain(names, "the names of classes"), what, rows)
        numbers = _whole_numbers(present)
        if numbers is not None:
            # The text 10 is after 9, not after 1.
            order = np.argsort(numbers, kind="stable")
            present, numbers = present[order], numbers[order]
        if rows is not None and numbers is not None and numbers[0] >= 0 and numbers[-1] < rows:
            _require_all(np.arange(rows), numbers, what)
        elif rows is not None and len(present) != rows:
            raise ValueError(
                f"{what} must have as many classes as the classifier has rows, {rows}, but there are {len(present)}: "
                f"{listed(present)}."
            )
        return cls(present, tuple(map(str, present.tolist())))

    def indices(self, labels: np.ndarray, what: str) -> Int[Tensor, " N"]:
        """The index of each label, −1 for a label of no class. Raises: ValueError if they are no labels."""
        values, labels = self.values, _plain(labels, what)
        if (values.dtype.kind == "U") != (labels.dtype.kind == "U"):
            values, labels = values.astype(np.str_), labels.astype(np.str_)
        order = np.argsort(values, kind="stable")
        found = order[np.searchsorted(values, labels, sorter=order).clip(max=len(values) - 1)]
        return torch.from_numpy(np.where(values[found] == labels, found, -1).astype(np.int64))


def _named(present: np.ndarray, named: np.ndarray, what: str, rows: int | None) -> Classes:
    if rows is not None and len(named) != rows:
        raise ValueError(f"the classifier has {rows} rows, but {len(named)} classes are named.")
    if len(np.unique(named)) < len(named):
        raise ValueError("the names of classes must differ from each other, but some are equal.")
    names = tuple(map(str, named.tolist()))
    # A label says which class by its name, or else by its index.
    by_name = bool(np.isin(present.astype(np.str_), np.array(names)).all())
    values = np.array(names) if by_name or present.dtype.kind == "U" else np.arange(len(names))
    own = present.astype(values.dtype) if by_name else present
    unknown = np.setdiff1d(own, values)
    if len(unknown):
        raise ValueError(f"{what} must be names of classes or their indices, but {listed(unknown)} is neither.")
    _require_all(values, own, what)
    return Classes(values, names)


def _whole_numbers(labels: np.ndarray) -> np.ndarray | None:
    """Labels as integers, also those that are text; None if one is no integer."""
    if labels.dtype.kind in "iu":
        return labels
    if all(_INTEGER.fullmatch(label) for label in labels.tolist()):
        return labels.astype(np.int64)
    return None


def _require_all(classes: np.ndarray, present: np.ndarray, what: str) -> None:
    absent = np.setdiff1d(classes, present)
    if len(absent):
        raise ValueError(
            f"{what} must have samples of each of the {len(classes)} classes, but {listed(absent)} has none: add "
            "samples, or drop the classifier rows and the names of absent classes."
        )


def _plain(labels: np.ndarray, what: str) -> np.ndarray:
    """Labels as integers or text. Raises: ValueError if they are something else."""
    if labels.ndim != 1:
        raise ValueError(f"{what} must have shape [N], one label a sample, but its shape is {list(labels.shape)}.")
    if not len(labels):
        raise ValueError(f"{what} must hold a label, but it is empty.")
    if labels.dtype.kind not in "iubUS":
        raise ValueError(f"{what} must be integers or text, but it is {labels.dtype}: store class indices or names.")
    if labels.dtype.kind == "b":
        return labels.astype(np.int64)
    return np.char.decode(labels, "utf-8", "replace") if labels.dtype.kind == "S" else labels


def listed(values: np.ndarray | Sequence[object]) -> str:
    """The first few values in words."""
    return ", ".join(str(value) for value in values[:_SHOWN]) + (", …" if len(values) > _SHOWN else "")
