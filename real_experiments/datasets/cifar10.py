"""CIFAR-10: small colour photographs.

Source: Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
"""

from real_experiments.datasets.formats import read_records
from real_experiments.datasets.published import Files, PublishedImages

# The binary form: the one for Python is a pickle, which can run any code when it is opened.
_ARCHIVE = {"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"}

DATASET = PublishedImages(
    name="cifar10",
    title="CIFAR-10",
    classes=("aeroplane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "lorry"),
    shape=(3, 32, 32),
    read=read_records,
    mirrors=(
        "https://www.cs.toronto.edu/~kriz/",
        "https://cave.cs.toronto.edu/kriz/",
        "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/",
    ),
    files={
        "train": Files(
            {
                "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
                "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
                "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
                "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
                "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
            },
            _ARCHIVE,
        ),
        # No checksum of this batch alone was found; in the archive it is covered by that of the archive.
        "test": Files({"test_batch.bin": None}, _ARCHIVE),
    },
)
