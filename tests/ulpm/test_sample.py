import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from ulpm import fashion_mnist_sample

FOLDER = Path("/usr/share/datasets/fashion-mnist")


def test_the_sample_is_a_hundred_images_of_each_class_with_pixels_between_zero_and_one():
    images, labels = fashion_mnist_sample()
    assert images.shape == (1000, 784)
    assert images.dtype == torch.float64
    assert labels.dtype == torch.int64
    assert torch.equal(labels, torch.arange(10).repeat_interleave(100))
    assert float(images.min()) == 0
    assert float(images.max()) == 1
    # Pixels are bytes over 255, and no two images are the same.
    torch.testing.assert_close(images * 255, (images * 255).round(), rtol=0, atol=1e-12)
    assert len(torch.unique(images, dim=0)) == 1000


def test_callers_may_change_their_copy_of_the_sample():
    fashion_mnist_sample()[0].zero_()
    assert float(fashion_mnist_sample()[0].max()) == 1


@pytest.mark.real_data
@pytest.mark.skipif(not FOLDER.is_dir(), reason="the Debian package dataset-fashion-mnist is not installed")
def test_the_sample_is_the_first_hundred_images_of_each_class_of_the_training_file():
    all_images = idx(FOLDER / "train-images-idx3-ubyte.gz", header=16).reshape(60000, 784)
    all_labels = idx(FOLDER / "train-labels-idx1-ubyte.gz", header=8)
    want = np.concatenate([all_images[all_labels == k][:100] for k in range(10)])
    images, _ = fashion_mnist_sample()
    assert np.array_equal(images.numpy(), want / 255)


def idx(path, header):
    with gzip.open(path) as file:
        return np.frombuffer(file.read(), dtype=np.uint8, offset=header)
