"""Starts by name, as the command line has them: class counts in short form, and files of features."""

import io
import zipfile
from pathlib import Path

import numpy as np
import safetensors
import torch
from torch import Tensor

from ulpm import _files
from ulpm.problem import Problem, from_features
from ulpm.sample import fashion_mnist_sample
from ulpm.state import State

__all__ = ["SAMPLE", "parse_class_counts", "read_features", "start_from_features"]

SAMPLE = "fashion-mnist-sample"
# One matrix between classes and one between samples and classes would not fit into any memory with more.
_MOST_CLASSES = 10**6
# The end of a zip archive: 22 bytes and a comment.
_LONGEST_END = 22 + 2**16
_ARRAYS = ("features", "labels", "classifier")


def parse_class_counts(text: str) -> list[int]:
    """``50x10`` means 50 samples in each of 10 classes; ``7,5,5,4`` are explicit counts.

    Raises: ValueError for anything else, or more than a million classes.
    """
    try:
        if "x" in text:
            samples, classes = map(int, text.split("x"))
        else:
            counts = [int(count) for count in text.split(",")]
            samples, classes = counts[0], len(counts)
    except ValueError:
        raise ValueError(f"class counts are written like 50x10 or 7,5,5,4, but {text!r:.60} was given.") from None
    if classes > _MOST_CLASSES:
        raise ValueError(f"{classes} classes were asked for, but no run holds more than {_MOST_CLASSES}: take fewer.")
    return [samples] * classes if "x" in text else counts


def read_features(path: Path) -> tuple[Tensor, Tensor, Tensor | None]:
    """The arrays ``features`` [N, d], ``labels`` [N] and perhaps ``classifier`` [K, d] of a .npz or .safetensors file.

    Raises: OSError if the file is missing or damaged, ValueError if it lacks an array or has another ending.
    """
    if path.suffix not in (".npz", ".safetensors"):
        raise ValueError(f"{path} must end in .npz or .safetensors, or be the word {SAMPLE}.")
    with _files.reading(path, "damaged or unsupported"):
        arrays = _npz_arrays(path) if path.suffix == ".npz" else _safetensors_arrays(path)
    missing = [name for name in ("features", "labels") if name not in arrays]
    if missing:
        raise ValueError(f"{path} must hold the arrays features [N, d] and labels [N], but {missing[0]} is missing.")
    return arrays["features"], arrays["labels"], arrays.get("classifier")


def _npz_arrays(path: Path) -> dict[str, Tensor]:
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        # Of every member to its end: a damaged header would else name fewer numbers, or another array, unnoticed.
        damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"{damaged} in it is not what was written")
        if len(archive.infolist()) != _members_written(path):
            raise ValueError("its directory lacks what was written")
        for name in _ARRAYS:
            if f"{name}.npy" in archive.namelist():
                array = np.lib.format.read_array(io.BytesIO(archive.read(f"{name}.npy")), allow_pickle=False)
                # torch knows the machine's byte order only.
                arrays[name] = torch.from_numpy(array.astype(array.dtype.newbyteorder("=")))
    return arrays


def _members_written(path: Path) -> int:
    """How many members a zip archive says that it has; a damaged directory may list fewer, and nobody asks."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _LONGEST_END))
        end = file.read()
    at = end.rfind(b"PK\x05\x06")
    return int.from_bytes(end[at + 10 : at + 12], "little")


def _safetensors_arrays(path: Path) -> dict[str, Tensor]:
    with safetensors.safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in _ARRAYS if name in file.keys()}  # noqa: SIM118


def start_from_features(
    source: str, scale: float | None, seed: int, dtype: torch.dtype, device: torch.device
) -> tuple[Problem, State]:
    """The start whose features are the embedded images or those of a file, in the given precision.

    ``scale`` is the root mean square of ‖h_i‖ to which features, and a given classifier, are multiplied; None: as they
    are. Raises: as ``read_features`` and ``from_features``.
    """
    features, labels, classifier = (*fashion_mnist_sample(), None) if source == SAMPLE else read_features(Path(source))
    if features.is_floating_point():
        features = features.to(device, dtype)
        if classifier is not None and classifier.is_floating_point():
            classifier = classifier.to(device, dtype)
        size = features.square().sum(-1).mean().sqrt()
        if scale is not None and size > 0:
            features = features * (scale / size)
            classifier = None if classifier is None else classifier * (scale / size)
    return from_features(features, labels, classifier, seed=seed)
