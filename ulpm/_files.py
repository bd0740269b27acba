"""Files that are either the old version or the whole new one, and that are read as they were written or not at all."""

import contextlib
import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ulpm._special_files import is_special, write_through

try:
    import fcntl
except ImportError:  # no such locks on Windows
    fcntl = None  # type: ignore[assignment]

# One entry, since safetensors writes several in no fixed order: the digest, a space, the metadata in JSON.
_METADATA_KEY = "ulpm"
_LONGEST_REASON = 200
_LONGEST_PREFIX = 200


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Call ``write`` on a file in a temporary folder beside ``path`` and move the result over ``path``.

    A folder, since what writes may make temporary files of its own, which a killed process leaves behind. A link is
    followed. What is no regular file, such as /dev/stdout, a device or a pipe, is written to instead.

    Raises: OSError with one sentence if it cannot be written; an earlier file at ``path`` is then untouched.
    """
    folder = None
    try:
        if is_special(path):
            write_through(path, write)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        target = Path(os.path.realpath(path))
        folder = Path(tempfile.mkdtemp(prefix=_prefix(path), dir=target.parent))
        temporary = folder / path.name
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
        _sync_folder(target.parent)
    except (OSError, safetensors.SafetensorError) as error:
        kept = "; the earlier version of it is untouched" if path.is_file() and not is_special(path) else ""
        raise OSError(f"{path} could not be written ({_words(error)}){kept}.") from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Replace ``path`` by ``text`` in UTF-8. Raises: OSError as ``replace_file``."""
    replace_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, unless it is there. Raises: OSError with one sentence if it cannot."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"{path} could not be made a directory ({_words(error)}).") from error


@contextlib.contextmanager
def locked(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Within it, no other process that asks for the same lock has ``folder``; with ``wait`` it is waited for.

    The kernel frees the lock when the process dies, however it does, and no file is left. Where a file system has no
    such locks, nothing is locked.

    Raises: OSError with one sentence if another process has the folder, or it is not there.
    """
    if fcntl is None:
        yield
        return
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise OSError(f"{folder} could not be opened as a directory ({_words(error)}).") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise OSError(
                f"another process is writing to {folder}: wait until it has ended, or give another directory."
            ) from error
        except OSError:
            pass
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def reading(path: Path, damaged: str = "it is damaged or truncated") -> Iterator[None]:
    """Within it, whatever goes wrong with the contents of ``path`` is one OSError with the file's name.

    Decoders raise nearly anything for damaged files: errors of zlib and of headers, RecursionError, MemoryError.
    """
    try:
        yield
    except Exception as error:
        reason = "it is a directory" if path.is_dir() else _damage(error, damaged)
        raise OSError(f"{path} could not be read: {reason}.") from error


@contextlib.contextmanager
def understanding(path: Path, kind: str) -> Iterator[None]:
    """Within it, contents of ``path`` that are intact but do not make a ``kind`` are one OSError that says so."""
    try:
        yield
    except Exception as error:
        raise OSError(f"{path} is {kind} of another version of ulpm ({_words(error)}).") from error


def read_text(path: Path) -> str:
    """The text of ``path``. Raises: OSError with one sentence if it cannot be read."""
    with reading(path):
        return path.read_text(encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in ``path``. Raises: OSError with one sentence if it cannot be read or is no object."""
    with reading(path):
        return _json_object(path.read_text(encoding="utf-8"))


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write tensors and JSON metadata as one safetensors file, with a checksum over all of it.

    Raises: OSError as ``replace_file``.
    """
    on_cpu = _separate(tensors)
    text = json.dumps(dict(metadata), allow_nan=False)
    header = {_METADATA_KEY: f"{_digest(text, on_cpu)} {text}"}
    replace_file(path, lambda temporary: safetensors.torch.save_file(on_cpu, temporary, header))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and JSON metadata of a file written by ``write_tensors``.

    Raises: OSError with one sentence if the file is missing, truncated, damaged or something else.
    """
    with reading(path), safetensors.safe_open(path, framework="pt") as file:
        header = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    entry = header.get(_METADATA_KEY)
    if entry is None:
        raise OSError(f"{path} is a safetensors file, but not one that ulpm wrote.")
    with reading(path):
        digest, _, text = entry.partition(" ")
        intact = digest == _digest(text, tensors)
        metadata = _json_object(text) if intact else {}
    if not intact:
        raise OSError(f"{path} is damaged: its checksum does not match its contents.")
    return tensors, metadata


def sentence(error: Exception) -> str:
    """An error in one line; one of the system itself with the name of its file and without its number."""
    if isinstance(error, OSError) and error.strerror is not None:
        return f"{error.filename or 'a file'} could not be used ({error.strerror})."
    return " ".join(str(error).split()) or f"{type(error).__name__}."


def text_digest(text: str) -> str:
    """SHA-256 of a text: it finds every change."""
    return hashlib.sha256(text.encode()).hexdigest()


def remove_leftovers(path: Path) -> None:
    """Remove what a process killed while writing ``path`` left behind."""
    for leftover in path.parent.glob(f"{glob.escape(_prefix(path))}*"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                leftover.unlink()


def _prefix(path: Path) -> str:
    """How the temporary folders beside a file begin. The longest names leave no room for one that begins with them."""
    name = os.fsencode(path.name)
    return f".{path.name}." if len(name) <= _LONGEST_PREFIX else f".{hashlib.sha256(name).hexdigest()[:16]}."


def _separate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous tensors on the CPU of which no two share memory, copied only where they must be."""
    separate: dict[str, Tensor] = {}
    storages: set[int] = set()
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        if own.untyped_storage().data_ptr() in storages:
            own = own.clone()
        storages.add(own.untyped_storage().data_ptr())
        separate[name] = own
    return separate


def _digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, number formats, shapes, the metadata as text, and all numbers."""
    names = sorted(tensors)
    header = [[name, str(tensors[name].dtype), list(tensors[name].shape)] for name in names]
    value = hashlib.sha256(json.dumps([header, text]).encode())
    for name in names:
        value.update(_bytes(tensors[name]))
    return value.hexdigest()


def _bytes(tensor: Tensor) -> memoryview:
    return memoryview(tensor.contiguous().flatten().view(torch.uint8).numpy())  # type: ignore[arg-type]  # a buffer


def _json_object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"it holds a JSON {type(value).__name__} where an object is expected")
    return value


def _words(error: Exception) -> str:
    """What the system says, or the error itself, on one line and not too long."""
    words = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
    return str(words)[:_LONGEST_REASON].removesuffix(".")


def _damage(error: Exception, damaged: str) -> str:
    """Why a file could not be read."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, UnicodeDecodeError):
        return "it is not text"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, RecursionError):
        return f"{damaged} (nested too deep)"
    if isinstance(error, MemoryError):
        return f"{damaged}, or larger than the memory"
    return f"{damaged} ({_words(error)})"


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a loss of power, where the file system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
