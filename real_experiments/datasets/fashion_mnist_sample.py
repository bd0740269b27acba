"""The first images of each class of Fashion-MNIST, which are in the package."""

import numpy as np
import torch

import ulpm
from real_experiments.datasets import fashion_mnist
from real_experiments.datasets.embedded import EmbeddedImages
from real_experiments.datasets.formats import Labels, Pixels


def _sample() -> tuple[Pixels, Labels]:
    images, labels = ulpm.fashion_mnist_sample()
    pixels = (images * 255).round().to(torch.uint8).reshape(-1, *fashion_mnist.DATASET.shape)
    return pixels.numpy(), labels.numpy().astype(np.uint8)


DATASET = EmbeddedImages(
    name="fashion-mnist-sample",
    title="Fashion-MNIST (sample)",
    classes=fashion_mnist.DATASET.classes,
    shape=fashion_mnist.DATASET.shape,
    read=_sample,
    source="The embedded sample of Fashion-MNIST: the first 100 images of each class.",
)
