"""Starts by name, as the command line has them: class counts in short form, and files of features."""

from pathlib import Path

import torch
from torch import Tensor

from ulpm.features import load_features
from ulpm.features.columns import ENDINGS
from ulpm.problem import Problem, from_features, typical_length
from ulpm.sample import fashion_mnist_sample
from ulpm.state import State

__all__ = ["SAMPLE", "parse_class_counts", "read_features", "start_from_features"]

SAMPLE = "fashion-mnist-sample"
# One matrix between classes and one between samples and classes would not fit into any memory with more.
_MOST_CLASSES = 10**6


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
    """Features [N, d], labels [N] in 0 … K−1 and perhaps the classifier [K, d], as ``load_features`` finds them.

    Raises: as ``load_features``.
    """
    if path.suffix.lower() not in ENDINGS:
        raise ValueError(f"{path} must end in {', '.join(ENDINGS)}, or be the word {SAMPLE}.")
    found = load_features(path)
    return torch.cat([part for _, part in found.tiles()]), found.labels, found.classifier


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
        size = typical_length(features)
        if scale is not None and size > 0:
            # By the reciprocal, as torch divides a number by a tensor; float32 may not have the factor itself.
            factor = scale * (1 / size)
            features = (features.double() * factor).to(dtype)
            classifier = None if classifier is None else (classifier.double() * factor).to(dtype)
    return from_features(features, labels, classifier, seed=seed)
