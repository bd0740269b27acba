"""The embedded sample: 1,000 real images, so that everything can be tried on real data without a download."""

import importlib.resources

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

__all__ = ["fashion_mnist_sample", "first_images"]


def fashion_mnist_sample() -> tuple[Float[Tensor, "1000 784"], Int[Tensor, " 1000"]]:
    """1,000 training images of Fashion-MNIST as float64 pixels in [0, 1], rows sorted by class, and their labels.

    They are the first 100 images of each of the 10 classes in the order of the training file.

    Returns:
        The images [1000, 784] and their labels [1000].

    Source: Xiao, Rasul, Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms",
    2017; MIT licence, copyright 2017 Zalando SE.

    >>> images, labels = ulpm.fashion_mnist_sample()
    >>> images.shape, labels.bincount().tolist()
    (torch.Size([1000, 784]), [100, 100, 100, 100, 100, 100, 100, 100, 100, 100])
    """
    resource = importlib.resources.files("ulpm") / "data" / "fashion_mnist_sample.npz"
    with resource.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    return torch.from_numpy(images / 255.0), torch.from_numpy(labels.astype(np.int64))


def first_images() -> UInt8[Tensor, "10 28 28"]:
    """The first image of each class of the sample, gray values in 0 … 255."""
    pixels, labels = fashion_mnist_sample()
    first = torch.searchsorted(labels, torch.arange(10, device="cpu"))
    return (255 * pixels[first]).round().to(torch.uint8).view(10, 28, 28)
