"""Arrays in files, of which a few rows at a time are in memory: .npy, .npz, .safetensors and .parquet.

Nothing is unpickled. A .npy file, and an array that lies uncompressed in a .npz archive, is mapped into memory for
each part that is read: what was read before may leave memory.
"""

import dataclasses
import functools
import importlib.util
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch

from ulpm import _files

__all__ = ["ENDINGS", "Column", "open_columns"]

# The end of a zip archive: 22 bytes and a comment.
_LONGEST_END = 22 + 2**16
_LOCAL_HEADER = 30
_OBJECTS = "it holds Python objects, which are never loaded: save numbers or text"


@dataclasses.dataclass(frozen=True, eq=False)
class Column:
    """An array in a file, by its name there; the first axis is that of rows.

    ``parts(rows)`` gives consecutive parts of at most so many rows, in order.

    Raises: OSError with one sentence from ``parts`` if the file cannot be read.
    """

    file: Path | None
    name: str
    shape: tuple[int, ...]
    dtype: str
    parts: Callable[[int], Iterator[np.ndarray]]

    @property
    def words(self) -> str:
        """As in "features in a.npz"."""
        if self.file is None:
            return self.name
        return f"{self.name} in {self.file}" if self.name else f"the array in {self.file}"

    @classmethod
    def of(cls, array: np.ndarray, name: str, file: Path | None = None) -> "Column":
        """An array in memory."""

        def parts(rows: int) -> Iterator[np.ndarray]:
            yield from (array[first : first + rows] for first in range(0, len(array), rows))

        return cls(file, name, array.shape, array.dtype.name, parts)

    @classmethod
    def beside(cls, columns: "Sequence[Column]", name: str) -> "Column":
        """Columns of one number a row, beside each other: [rows, how many]."""

        def parts(rows: int) -> Iterator[np.ndarray]:
            for each in zip(*(column.parts(rows) for column in columns), strict=True):
                yield np.stack(each, 1)

        first = columns[0]
        return cls(first.file, name, (first.shape[0], len(columns)), first.dtype, parts)

    def all(self) -> np.ndarray:
        """The whole array."""
        parts = list(self.parts(max(1, self.shape[0] if self.shape else 1)))
        return np.concatenate(parts) if len(parts) > 1 else parts[0] if parts else np.empty(self.shape)


def open_columns(path: Path) -> dict[str, Column]:
    """The arrays of a file by name; that of a .npy file has the name "".

    Raises: OSError with one sentence if the file is missing, damaged or holds Python objects, ValueError for another
    ending, ImportError for a .parquet file where pyarrow is not installed.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"{path} must end in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}.")
    if reader is _parquet and importlib.util.find_spec("pyarrow") is None:
        raise ImportError(f"{path} needs the package pyarrow to be read: pip install 'ulpm[parquet]'.")
    with _files.reading(path, "damaged or unsupported"):
        return reader(path)


def _npy(path: Path) -> dict[str, Column]:
    with path.open("rb") as file:
        header = _Header.read(file)
        start = file.tell()
    if header.dtype.hasobject:
        raise ValueError(_OBJECTS)
    if start + header.bytes != path.stat().st_size:
        raise ValueError("its size is not the one that its header states")
    return {"": _mapped(path, "", header, start)}


def _npz(path: Path) -> dict[str, Column]:
    with zipfile.ZipFile(path) as archive:
        # Of every member to its end: a damaged header would else name fewer numbers, or another array, unnoticed.
        damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"{damaged} in it is not what was written")
        if len(archive.infolist()) != _members_written(path):
            raise ValueError("its directory lacks what was written")
        found = {}
        for member in archive.infolist():
            if not member.filename.endswith(".npy"):
                continue
            name = member.filename.removesuffix(".npy")
            with archive.open(member) as file:
                header = _Header.read(file)
                before = file.tell()
            if header.dtype.hasobject:
                # Nobody may ask for it.
                found[name] = Column(path, name, header.shape, "object", functools.partial(_refused, path, name))
                continue
            if before + header.bytes != member.file_size:
                raise ValueError(f"the size of {name} is not the one that its header states")
            if member.compress_type == zipfile.ZIP_STORED:
                found[name] = _mapped(path, name, header, _start_of(path, member) + before)
            else:
                found[name] = _in_memory(path, name, header, functools.partial(_unpacked, path, member))
        return found


@dataclasses.dataclass(frozen=True)
class _Header:
    """What the head of a .npy file says of its array."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]

    @classmethod
    def read(cls, file: Any) -> "_Header":
        """Raises: ValueError if it is none."""
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
        if min(shape, default=0) < 0 or dtype.itemsize == 0:
            raise ValueError("its header states no size")
        return cls(tuple(shape), fortran, dtype)

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def _mapped(path: Path, name: str, header: _Header, offset: int) -> Column:
    def parts(rows: int) -> Iterator[np.ndarray]:
        if not header.shape or 0 in header.shape:
            yield np.empty(header.shape, header.dtype)
            return
        for first in range(0, header.shape[0], rows):
            with _files.reading(path):
                order: Any = "F" if header.fortran else "C"
                whole = np.memmap(path, header.dtype, "r", offset, header.shape, order)
                part = np.array(whole[first : first + rows])
                del whole
            yield part

    return Column(path, name, header.shape, header.dtype.name, parts)


def _in_memory(path: Path, name: str, header: _Header, read: Callable[[], np.ndarray]) -> Column:
    def parts(rows: int) -> Iterator[np.ndarray]:
        with _files.reading(path):
            whole = read()
        yield from (whole[first : first + rows] for first in range(0, len(whole), rows)) if whole.ndim else [whole]

    return Column(path, name, header.shape, header.dtype.name, parts)


def _refused(path: Path, name: str, rows: int) -> Iterator[np.ndarray]:
    with _files.reading(path, f"{name} cannot be used"):
        raise ValueError(_OBJECTS)
    yield np.empty(0)


def _unpacked(path: Path, member: zipfile.ZipInfo) -> np.ndarray:
    with zipfile.ZipFile(path) as archive, archive.open(member) as file:
        array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
        return array


def _start_of(path: Path, member: zipfile.ZipInfo) -> int:
    """Where the contents of a member of a zip archive begin, which its own header decides."""
    with path.open("rb") as file:
        file.seek(member.header_offset)
        header = file.read(_LOCAL_HEADER)
    lengths = [int.from_bytes(header[at : at + 2], "little") for at in (26, 28)]
    return member.header_offset + _LOCAL_HEADER + sum(lengths)


def _members_written(path: Path) -> int:
    """How many members a zip archive says that it has; a damaged directory may list fewer, and nobody asks."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _LONGEST_END))
        end = file.read()
    at = end.rfind(b"PK\x05\x06")
    return int.from_bytes(end[at + 10 : at + 12], "little")


def _safetensors(path: Path) -> dict[str, Column]:
    with safetensors.safe_open(path, framework="pt") as file:
        found = {}
        for name in file.keys():  # noqa: SIM118 (no mapping)
            part = file.get_slice(name)
            shape = tuple(part.get_shape())
            found[name] = Column(
                path, name, shape, str(part.get_dtype()), functools.partial(_slices, path, name, shape)
            )
        return found


def _slices(path: Path, name: str, shape: tuple[int, ...], rows: int) -> Iterator[np.ndarray]:
    for first in range(0, shape[0] if shape else 1, rows):
        # Opened again, so that what was read before may leave memory.
        # A default device of torch would else get the numbers.
        with _files.reading(path), torch.device("cpu"), safetensors.safe_open(path, framework="pt") as file:
            part = file.get_slice(name)[first : first + rows] if shape else file.get_tensor(name)
            # numpy has no bfloat16. float32 has all its numbers.
            part = part.float() if part.dtype in (torch.bfloat16, torch.float16) else part
            array = part.numpy().copy()
        yield array


def _parquet(path: Path) -> dict[str, Column]:
    import pyarrow.parquet as parquet

    with parquet.ParquetFile(path) as file:
        schema, rows = file.schema_arrow, file.metadata.num_rows
        widths = _widths(file)
    repeated = [name for name in schema.names if schema.names.count(name) > 1]
    if repeated:
        raise ValueError(f"it has several columns {repeated[0]}")
    found = {}
    for field in schema:
        width = widths.get(field.name)
        shape = (rows,) if width is None else (rows, width)
        of = functools.partial(_batches, path, field.name, width)
        found[field.name] = Column(path, field.name, shape, str(field.type), of)
    return found


def _widths(file: Any) -> dict[str, int]:
    """The lengths of the vectors in columns of vectors, which their first ones have; 1 where there is no first one."""
    nested = [field.name for field in file.schema_arrow if field.type.num_fields == 1 and "list" in str(field.type)]
    if not nested:
        return {}
    first = next(file.iter_batches(1, columns=nested), None)
    return {name: len(first.column(name)[0]) if first and first.column(name)[0].is_valid else 1 for name in nested}


def _batches(path: Path, name: str, width: int | None, rows: int) -> Iterator[np.ndarray]:
    from pyarrow import compute, parquet

    with _files.reading(path):
        file = parquet.ParquetFile(path)
        batches = file.iter_batches(rows, columns=[name])
    with file:
        while True:
            with _files.reading(path, "damaged or unsupported"):
                batch = next(batches, None)
                if batch is None:
                    return
                column = batch.column(0)
                if column.null_count:
                    raise ValueError(f"{name} has rows without a value")
                if width is None:
                    part = column.to_numpy(zero_copy_only=False)
                    part = part.astype(np.str_) if part.dtype == object else part
                else:
                    lengths = compute.list_value_length(column).to_numpy(zero_copy_only=False)
                    if (lengths != width).any():
                        raise ValueError(f"the rows of {name} have different lengths")
                    part = column.flatten().to_numpy(zero_copy_only=False)
                    if part.dtype == object:
                        raise ValueError(f"the rows of {name} are no vectors of numbers")
                    part = part.reshape(len(column), width)
            yield part


_READERS: Mapping[str, Callable[[Path], dict[str, Column]]] = {
    ".npz": _npz,
    ".npy": _npy,
    ".safetensors": _safetensors,
    ".parquet": _parquet,
}
ENDINGS = tuple(_READERS)
