"""The data sets of the experiments, each in a file of its own."""

from importlib import import_module

from real_experiments.choices import by_name, chosen
from real_experiments.datasets.image_set import ImageSet

__all__ = ["DATASETS", "find_dataset"]

# A line a data set: the file of this folder that has its DATASET.
_FILES = (
    "mnist",
    "kmnist",
    "fashion_mnist",
    "cifar10",
    "fashion_mnist_sample",
)
DATASETS: dict[str, ImageSet] = by_name(import_module(f"{__name__}.{file}").DATASET for file in _FILES)


def find_dataset(name: str) -> ImageSet:
    """The data set called ``name``. Raises: ValueError if there is none."""
    return chosen(DATASETS, "data set", name)
