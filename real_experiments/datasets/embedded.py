"""Data sets that need no files: they are in a package, or computed."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np

from real_experiments.datasets.formats import Labels, Pixels
from real_experiments.datasets.image_set import ImageSet, Split

__all__ = ["EmbeddedImages"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmbeddedImages(ImageSet):
    """A training split that ``read()`` gives as bytes: pixels [N, C, H, W] and labels [N]. ``source`` says what it is.

    Every call must give the same images: a run is resumed with them.
    """

    has_files: ClassVar[bool] = False
    read: Callable[[], tuple[Pixels, Labels]]
    source: str

    @property
    def splits(self) -> tuple[Split, ...]:
        """The training split alone."""
        return ("train",)

    def images(self, split: Split, path: Path | None = None, download: bool = True) -> tuple[Pixels, Labels, str]:
        """As ``ImageSet.images``; nothing is downloaded. Raises: ValueError for a path, or images of another shape."""
        self.require_split(split)
        if path is not None:
            raise ValueError(f"{self.name} is embedded, so it has no path: leave it out, or choose another data set.")
        pixels, labels = self.read()
        if pixels.dtype != np.uint8 or pixels.shape[1:] != self.shape:
            raise ValueError(
                f"the images of {self.name} must be bytes of shape {self.shape}, but they are {pixels.dtype} of shape "
                f"{pixels.shape[1:]}."
            )
        return pixels, labels, self.source
