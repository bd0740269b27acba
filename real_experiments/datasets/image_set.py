"""A data set of the experiments: labelled images as bytes, and their names, classes and shape."""

import abc
import dataclasses
from pathlib import Path
from typing import ClassVar, Literal

from real_experiments.datasets.formats import Labels, Pixels, Shape

__all__ = ["ImageSet", "Split"]

Split = Literal["train", "test"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageSet(abc.ABC):
    """A data set that ``--dataset`` knows by its ``name`` and that figures call by its ``title``.

    ``classes``: the names of classes 0 … K−1, at most 256. ``shape``: channels C, height H and width W of each image.
    """

    has_files: ClassVar[bool]
    """Whether a user can name a folder with its files."""
    name: str
    title: str
    classes: tuple[str, ...]
    shape: Shape

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.classes)

    @property
    @abc.abstractmethod
    def splits(self) -> tuple[Split, ...]:
        """The splits that it has."""

    @abc.abstractmethod
    def images(self, split: Split, path: Path | None = None, download: bool = True) -> tuple[Pixels, Labels, str]:
        """Pixels [N, C, H, W] and labels [N] of a split, and a sentence that says where they come from.

        ``path`` is a folder of the user with its files; ``download`` allows a download. Raises: ValueError for a split
        or a path that it cannot have; OSError with one sentence that says what to do if the images cannot be had, or
        are not what they should be.
        """

    def require_split(self, split: Split) -> None:
        """Raise ValueError if there is no such split."""
        if split not in self.splits:
            raise ValueError(f"{self.name} has no {split} split: leave it out, or take another data set.")
