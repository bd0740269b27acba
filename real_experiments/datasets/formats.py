"""The file formats of small images: IDX (MNIST and similar sets), and records of a label and its pixels (CIFAR-10)."""

import gzip
import math
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

Pixels = UInt8[np.ndarray, "N C H W"]
Labels = UInt8[np.ndarray, " N"]
Shape = tuple[int, int, int]  # channels, height, width

# The largest file of these data sets has 47 MB. A damaged or hostile archive cannot make us decompress more than this.
MOST_BYTES = 64 * 2**20
_UNSIGNED_BYTE = 8


class Contents(NamedTuple):
    """The decompressed contents of a file, and its place for messages."""

    place: str
    data: bytes


def decompress(path: Path) -> Contents:
    """The contents of ``path``, decompressed if its name ends in .gz.

    Raises: OSError with one sentence if it cannot be read, is damaged or truncated, or is far too large.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return Contents(str(path), _limited(file.read, str(path)))
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, error) from error


def unpack(archive: Path, names: Iterable[str]) -> dict[str, Contents]:
    """Members of a .tar.gz, by their names without the folder, read in memory: nothing is written anywhere.

    Raises: OSError with one sentence if the archive is damaged or truncated, or lacks one of ``names``.
    """
    wanted, found = set(names), {}
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                name = member.name.rsplit("/", 1)[-1]
                file = tar.extractfile(member) if name in wanted and member.isfile() else None
                if file is not None:
                    place = f"{name} in {archive}"
                    found[name] = Contents(place, _limited(file.read, place))
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise _unreadable(archive, error) from error
    missing = sorted(wanted - set(found))
    if missing:
        raise OSError(f"{archive} is damaged or another archive: it lacks {', '.join(missing)}.")
    return found


def read_idx(files: Sequence[Contents], shape: Shape, num_classes: int) -> tuple[Pixels, Labels]:
    """Pixels [N, 1, H, W] and labels [N] of a pair of IDX files, images first.

    IDX: bytes 0, 0, type (8 = unsigned byte), number of axes; a big-endian 32-bit length an axis; entries in C order.

    Raises: OSError with one sentence for another format, a wrong length, images that have not ``shape``, unequal
    numbers, a label outside 0 … K−1.
    """
    images, labels = files
    pixels, classes = _idx(images, axes=3)[:, None], _idx(labels, axes=1)
    if len(pixels) != len(classes):
        raise OSError(f"{labels.place} has {len(classes)} labels for the {len(pixels)} images of {images.place}.")
    if pixels.shape[1:] != shape:
        raise OSError(f"{images.place} has images of {_times(pixels.shape[1:])} pixels, not {_times(shape)}.")
    return pixels, _in_range(classes, num_classes, labels.place)


def read_records(files: Sequence[Contents], shape: Shape, num_classes: int) -> tuple[Pixels, Labels]:
    """Pixels [N, C, H, W] and labels [N] of files of records, each a byte for the label and C·H·W for the pixels.

    Raises: OSError with one sentence for a length that is no whole number of records, a label outside 0 … K−1.
    """
    size = 1 + math.prod(shape)
    pixels, classes = [], []
    for place, data in files:
        if not data or len(data) % size:
            raise OSError(
                f"{place} is damaged or truncated: its {len(data)} bytes are no whole number of images of {size} bytes."
            )
        records = np.frombuffer(data, np.uint8).reshape(-1, size)
        classes.append(_in_range(records[:, 0], num_classes, place))
        pixels.append(records[:, 1:].reshape(-1, *shape))
    return np.concatenate(pixels), np.concatenate(classes)


def _idx(contents: Contents, axes: int) -> np.ndarray:
    place, data = contents
    header = 4 + 4 * axes
    magic = bytes((0, 0, _UNSIGNED_BYTE, axes))
    if len(data) < header or data[:4] != magic:
        got = data[:4].hex(" ") or "nothing"
        raise OSError(f"{place} is no IDX file of {axes}-axis bytes: it starts with {got}, not {magic.hex(' ')}.")
    shape = struct.unpack(f">{axes}I", data[4:header])
    if len(data) != header + math.prod(shape) or 0 in shape:
        raise OSError(
            f"{place} is damaged or truncated: its header promises {_times(shape)} entries after "
            f"{header} bytes, but it has {len(data)} bytes."
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def _times(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))


def _in_range(labels: Labels, num_classes: int, place: str) -> Labels:
    if int(labels.max()) >= num_classes:
        raise OSError(f"{place} is damaged: it has the label {int(labels.max())}, outside 0 … {num_classes - 1}.")
    return labels


def _limited(read: Callable[[int], bytes], place: str) -> bytes:
    data = read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise OSError(f"it holds more than {MOST_BYTES} bytes, which no file of these data sets does")
    return data


def _unreadable(path: Path, error: Exception) -> OSError:
    # Errors of the system have a number; those of the decompressors, which are about the contents, have none.
    if isinstance(error, OSError) and error.errno is not None:
        return OSError(f"{path} could not be read: {error.strerror}.")
    return OSError(f"{path} is damaged or truncated ({str(error).removesuffix('.')}).")
