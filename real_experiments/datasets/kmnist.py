"""KMNIST: handwritten Japanese characters.

Source: Clanuwat, Bober-Irizar, Kitamoto, Lamb, Yamamoto, Ha, "Deep learning for classical Japanese literature", 2018.
"""

from real_experiments.datasets.formats import read_idx
from real_experiments.datasets.published import PublishedImages, idx_files

DATASET = PublishedImages(
    name="kmnist",
    title="KMNIST",
    classes=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    shape=(1, 28, 28),
    read=read_idx,
    mirrors=(
        "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
    ),
    files={
        # Two public records of the checksum of the training images' contents disagree, so that none is used. A
        # download is checked as it is served, and gzip's own CRC-32 covers the cache; images that a user gives are
        # compared only with their header and the checksum of the labels.
        "train": idx_files(
            "train",
            ("bdb82020997e1d708af4cf47b453dcf7", None),
            ("e144d726b3acfaa3e44228e80efcd344", "949e75301f8813e0dc5800dcc320fc52"),
        ),
        "test": idx_files(
            "t10k",
            ("5c965bf0a639b31b8f53240b1b52f4d7", "bf305b8cd328700fbc17f5acbc2856d2"),
            ("7320c461ea6c1c855c0b718fb2a4b134", "9f55f451c0988b028eccdf7d5cc265ab"),
        ),
    },
)
