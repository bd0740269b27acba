"""Small files in the formats of the published data sets, and how to pass them off as published."""

import dataclasses
import gzip
import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from real_experiments.datasets import DATASETS
from real_experiments.datasets.published import Files, PublishedImages


def idx(array: np.ndarray) -> bytes:
    """An IDX file of bytes: 0, 0, 8, number of axes, big-endian lengths, entries."""
    lengths = b"".join(length.to_bytes(4, "big") for length in array.shape)
    return bytes((0, 0, 8, array.ndim)) + lengths + array.astype(np.uint8).tobytes()


def images_and_labels(
    count: int = 30, channels: int = 1, side: int = 28, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Random pixels [N, C, H, W] and labels 0 1 … 9 0 1 … [N], both bytes."""
    pixels = np.random.default_rng(seed).integers(0, 256, (count, channels, side, side), dtype=np.uint8)
    return pixels, np.arange(count, dtype=np.uint8) % 10


def idx_files(pixels: np.ndarray, labels: np.ndarray, split: str = "train") -> dict[str, bytes]:
    return {f"{split}-images-idx3-ubyte": idx(pixels[:, 0]), f"{split}-labels-idx1-ubyte": idx(labels)}


def cifar_files(pixels: np.ndarray, labels: np.ndarray) -> dict[str, bytes]:
    """Five batches of records: a label, then the red, the green and the blue plane."""
    records = [bytes([y]) + x.tobytes() for x, y in zip(pixels, labels, strict=True)]
    return {f"data_batch_{b + 1}.bin": b"".join(part) for b, part in enumerate(np.array_split(records, 5))}


def archive(contents: dict[str, bytes]) -> bytes:
    """A .tar.gz of them in a folder, with another file beside them, as CIFAR-10 is served."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in {"readme.html": b"<p>", **contents}.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def write(folder: Path, files: dict[str, bytes], compress: bool = False) -> Path:
    """Write files, or each as .gz, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        if compress:
            (folder / f"{name}.gz").write_bytes(gzip.compress(data))
        else:
            (folder / name).write_bytes(data)
    return folder


def publish(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    contents: dict[str, bytes],
    served: dict[str, bytes] | None = None,
    **changes: object,
) -> None:
    """Declare ``contents`` to be the training split of ``name``, on no machine and behind no address unless said."""
    published = DATASETS[name]
    assert isinstance(published, PublishedImages)
    downloads = {file: md5(data) for file, data in served.items()} if served else published.files["train"].downloads
    files = Files({file: md5(data) for file, data in contents.items()}, downloads)
    changes = {"package": None, "mirrors": (), **changes}
    tiny = dataclasses.replace(published, files={**published.files, "train": files}, **changes)  # type: ignore[arg-type]
    monkeypatch.setitem(DATASETS, name, tiny)


def publish_test_split(monkeypatch: pytest.MonkeyPatch, name: str, contents: dict[str, bytes]) -> None:
    """Declare ``contents`` to be the test split of ``name``."""
    published = DATASETS[name]
    assert isinstance(published, PublishedImages)
    files = dataclasses.replace(published.files["test"], contents={file: md5(data) for file, data in contents.items()})
    monkeypatch.setitem(DATASETS, name, dataclasses.replace(published, files={**published.files, "test": files}))


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()
