"""Fashion-MNIST: pictures of clothes.

Source: Xiao, Rasul, Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning
algorithms", 2017.
"""

from pathlib import Path

from real_experiments.datasets.formats import read_idx
from real_experiments.datasets.published import DebianPackage, PublishedImages, idx_files

DATASET = PublishedImages(
    name="fashion-mnist",
    title="Fashion-MNIST",
    classes=("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"),
    shape=(1, 28, 28),
    read=read_idx,
    mirrors=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
    files={
        "train": idx_files(
            "train",
            ("8d4fb7e6c68d591d4c3dfef9ec88bf0d", "f4a8712d7a061bf5bd6d2ca38dc4d50a"),
            ("25c81989df183df01b3e8a0aad5dffbe", "9018921c3c673c538a1fc5bad174d6f9"),
        ),
        "test": idx_files(
            "t10k",
            ("bef4ecab320f06d8554ea6380940ec79", "8181f5470baa50b63fa0f6fddb340f0a"),
            ("bb300cfdad3c16e7a12a480ee83cd310", "15d484375f8d13e6eb1aabb0c3f46965"),
        ),
    },
    package=DebianPackage("dataset-fashion-mnist", Path("/usr/share/datasets/fashion-mnist")),
)
