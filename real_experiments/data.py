"""The data sets of the experiments as tensors on the device: standardised, never augmented, in whole or in part."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from real_experiments.datasets import find_dataset
from real_experiments.datasets.formats import Pixels
from real_experiments.datasets.image_set import Split


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images on a device.

    Shapes: ``images`` [N, C, H, W] float32, mean 0 and standard deviation 1 a channel over a whole published split;
    ``labels`` [N] int64 in 0 … K−1, K = ``num_classes``. ``source`` is a sentence that says where the images come from.

    Raises: TypeError for other types, ValueError for shapes that do not fit or a label outside 0 … K−1.
    """

    name: str
    images: Float[Tensor, "N C H W"]
    labels: Int[Tensor, " N"]
    num_classes: int
    source: str

    def __post_init__(self) -> None:
        if self.images.dtype != torch.float32 or self.labels.dtype != torch.int64:
            raise TypeError(
                f"images must be float32 and labels int64, but they are {self.images.dtype} and {self.labels.dtype}."
            )
        if self.images.ndim != 4 or self.labels.shape != self.images.shape[:1] or not len(self.labels):
            raise ValueError(
                f"images must be [N, C, H, W] and labels [N] with N ≥ 1, but they are {list(self.images.shape)} and "
                f"{list(self.labels.shape)}."
            )
        low, high = int(self.labels.min()), int(self.labels.max())
        if low < 0 or high >= self.num_classes:
            raise ValueError(f"labels must lie in 0 … {self.num_classes - 1}, but they lie in {low} … {high}.")

    @property
    def class_counts(self) -> tuple[int, ...]:
        """n_k, k = 0 … K−1."""
        return tuple(torch.bincount(self.labels, minlength=self.num_classes).tolist())


def load_dataset(
    name: str,
    path: Path | None = None,
    device: str | torch.device = "cpu",
    download: bool = True,
    split: Split = "train",
    standardised_like: Split | None = None,
) -> Dataset:
    """A whole split of the data set called ``name``, one of ``real_experiments.datasets``, on ``device``.

    Its channels have mean 0 and standard deviation 1 over the split itself, or over that named by
    ``standardised_like``: a network wants test images in the units of the images that it was trained on.

    Sources in order: ``path``, a folder that holds the published files (for CIFAR-10 the archive will do as well); for
    Fashion-MNIST the Debian package dataset-fashion-mnist; the cache of earlier downloads; a download, if ``download``
    allows it. "fashion-mnist-sample" is embedded and needs no source; it has 100 images a class.

    Raises: ValueError for an unknown name or device, a split that the data set has not, or a path of an embedded one;
    OSError if the data cannot be had, or is damaged, truncated or not what was published. Each says what to do.
    """
    found, where = find_dataset(name), _device(device)
    pixels, labels, source = found.images(split, path, download)
    like = pixels
    if standardised_like is not None and standardised_like != split:
        like, _, _ = found.images(standardised_like, path, download)
    images = torch.from_numpy(standardised(pixels, like)).to(where)
    return Dataset(name, images, torch.from_numpy(labels.astype(np.int64)).to(where), found.num_classes, source)


def subset(
    dataset: Dataset, size: int | None = None, class_counts: Sequence[int] | None = None, seed: int = 0
) -> Dataset:
    """Some images of ``dataset``, drawn at random without replacement and kept in their order.

    Either ``size`` images, the same number of every class; or class_counts[k] images of class k, where fewer than K
    counts keep only the first classes, so K′ = len(class_counts) becomes the number of classes; or, with neither,
    the data set itself. The images are the same on every device, and with the same seed those of fewer images are among
    those of more.

    Raises: TypeError for anything but integers; ValueError for both size and counts, a size that is no multiple of K,
    a count below 1, fewer than 2 or more than K counts, or a class that is missing or has too few images.
    """
    if size is None and class_counts is None:
        return dataset
    return _drawn(dataset, _counts(dataset, size, class_counts), seed)


def unseen(dataset: Dataset, seen: Sequence[int], size: int, seed: int = 0) -> Dataset:
    """``size`` images of ``dataset``, the same number of every class, that ``subset`` did not draw.

    ``seen[k]`` images of class k were drawn with the same ``seed``; zeros if another split was. The classes are those
    of ``seen``.

    Raises: ValueError for a size that is no multiple of the number of classes, or where too few images are left.
    """
    if size % len(seen):
        raise ValueError(f"a balanced set of {len(seen)} classes has a multiple of {len(seen)} images, but not {size}.")
    return _drawn(dataset, [size // len(seen)] * len(seen), seed, seen)


def _drawn(dataset: Dataset, counts: Sequence[int], seed: int, after: Sequence[int] | None = None) -> Dataset:
    """counts[k] images of class k, those that come in a random order after the first after[k]."""
    _integer("seed", seed, minimum=0)
    passed = after or [0] * len(counts)
    generator = torch.Generator().manual_seed(seed)
    labels = dataset.labels.cpu()
    chosen = []
    for k, (skip, count, available) in enumerate(zip(passed, counts, dataset.class_counts, strict=False)):
        if skip + count > available:
            has = f"has only {available} images" if available else "has no images"
            wanted = f"{count} were asked for" if not skip else f"{count} were asked for beside {skip} others"
            raise ValueError(f"class {k} of {dataset.name} {has}, but {wanted}: ask for fewer.")
        # A permutation of the whole class for any count, so a smaller subset is part of a larger one.
        order = torch.randperm(available, generator=generator)
        chosen.append(torch.nonzero(labels == k).flatten()[order[skip : skip + count]])
    index = torch.cat(chosen).sort().values.to(dataset.labels.device)
    others = " others" if any(passed) else ""
    what = f"{counts[0]} a class" if len(set(counts)) == 1 else ", ".join(map(str, counts)) + " of classes 0, 1, …"
    return Dataset(
        dataset.name,
        dataset.images[index],
        dataset.labels[index],
        len(counts),
        f"{dataset.source} Of its {len(labels)} images {len(index)}{others} were drawn: {what} (seed {seed}).",
    )


def standardised(pixels: Pixels, like: UInt8[np.ndarray, "M C H W"] | None = None) -> np.ndarray:
    """(x − μ_c) / σ_c in float32 with mean μ_c and standard deviation σ_c of channel c over all images; [N, C, H, W].

    The images that μ_c and σ_c are of are ``like``, by default the images themselves.

    A pixel has 256 values, so that both are exact sums over a histogram, and the result is a look-up.
    """
    values, whole = np.arange(256), pixels if like is None else like
    result = np.empty(pixels.shape, np.float32)
    for c in range(pixels.shape[1]):
        histogram = np.zeros(256, np.int64)
        for chunk in np.array_split(whole[:, c], len(whole) // 1000 + 1):  # bincount takes eight bytes a pixel
            histogram += np.bincount(chunk.ravel(), minlength=256)
        mean = np.average(values, weights=histogram)
        deviation = np.sqrt(np.average((values - mean) ** 2, weights=histogram))
        if deviation == 0:
            raise ValueError(f"channel {c} has the same value in every pixel, so it cannot be standardised.")
        result[:, c] = ((values - mean) / deviation).astype(np.float32)[pixels[:, c]]
    return result


def _counts(dataset: Dataset, size: int | None, class_counts: Sequence[int] | None) -> tuple[int, ...]:
    """The number of images of each class that ``subset`` was asked for."""
    if class_counts is not None:
        if size is not None:
            raise ValueError("size and class_counts exclude each other: give one of them.")
        if not 2 <= len(class_counts) <= dataset.num_classes:
            raise ValueError(
                f"class_counts must have 2 … {dataset.num_classes} entries for {dataset.name}, but it has "
                f"{len(class_counts)}."
            )
        return tuple(_integer(f"class_counts[{k}]", count, minimum=1) for k, count in enumerate(class_counts))
    total = _integer("size", size, minimum=1)
    if total % dataset.num_classes:
        raise ValueError(
            f"a balanced subset of {dataset.num_classes} classes has a multiple of {dataset.num_classes} images, but "
            f"size is {total}: change it, or give class_counts."
        )
    return (total // dataset.num_classes,) * dataset.num_classes


def _integer(name: str, value: object, minimum: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer, but {value!r} was given.")
    if not minimum <= value < 2**63:
        raise ValueError(f"{name} must be at least {minimum} and below 2^63, but {value} was given.")
    return value


def _device(device: str | torch.device) -> torch.device:
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device {str(device)!r} is not available here: use 'cpu', or 'cuda' with a GPU.") from error
    return found
