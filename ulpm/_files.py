"""Files that are either the old version or the whole new one: written beside, flushed, then moved into place."""

import contextlib
import json
import os
import tempfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

_METADATA_KEY = "ulpm"
_CHECKSUM = "checksum"


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Call ``write`` on a temporary file in the folder of ``path`` and move the result over ``path``.

    Raises: OSError with one sentence if it cannot be written; an earlier file at ``path`` is then untouched.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
        temporary = Path(name)
        os.close(handle)
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except (OSError, safetensors.SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        kept = "; the earlier version of it is untouched" if path.is_file() else ""
        raise OSError(f"{path} could not be written ({reason}){kept}.") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace ``path`` by ``text`` in UTF-8. Raises: OSError as ``replace_file``."""
    replace_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def read_text(path: Path) -> str:
    """The text of ``path``. Raises: OSError with one sentence if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise OSError(f"{path} could not be read: {reason}.") from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write tensors and JSON metadata as one safetensors file. Raises: OSError as ``replace_file``."""
    on_cpu = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    text = json.dumps({**metadata, _CHECKSUM: _checksum(on_cpu)}, allow_nan=False)
    replace_file(path, lambda temporary: safetensors.torch.save_file(on_cpu, temporary, {_METADATA_KEY: text}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and JSON metadata of a file written by ``write_tensors``.

    Raises: OSError with one sentence if the file is missing, truncated, damaged or something else.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_METADATA_KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (OSError, safetensors.SafetensorError) as error:
        missing = isinstance(error, FileNotFoundError)
        reason = "there is no such file" if missing else f"it is damaged or truncated ({error})"
        raise OSError(f"{path} could not be read: {reason}.") from error
    if text is None:
        raise OSError(f"{path} is a safetensors file, but not one that ulpm wrote.")
    metadata = json.loads(text)
    if metadata.pop(_CHECKSUM, None) != _checksum(tensors):
        raise OSError(f"{path} is damaged: its checksum does not match its contents.")
    return tensors, metadata


def remove_leftovers(path: Path) -> None:
    """Remove temporary files that a process killed while writing ``path`` left behind."""
    for leftover in path.parent.glob(f".{path.name}.*"):
        with contextlib.suppress(OSError):
            leftover.unlink()


def _checksum(tensors: Mapping[str, Tensor]) -> int:
    """CRC-32 of all contents: it finds damage, not forgery."""
    value = 0
    for name in sorted(tensors):
        contents = tensors[name].contiguous().flatten().view(torch.uint8).numpy()
        value = zlib.crc32(contents, zlib.crc32(name.encode(), value))  # type: ignore[arg-type]  # an array is a buffer
    return value


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
