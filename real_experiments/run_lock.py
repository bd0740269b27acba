"""One process at a time writes into the folder of a run."""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["sole_writer"]

_NO_LOCKS_HERE = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


@contextlib.contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold the lock of ``folder``, which is made if it is not there.

    The system drops the lock when the process ends, however it ends: a killed run leaves an empty file .lock, which
    locks nothing. On file systems without locks there is none.

    Raises: OSError with one sentence if another process holds it, or the folder cannot be written.
    """
    file, made = folder / ".lock", [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = _locked(file)
    except OSError as error:
        _remove_empty(made)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES) and not isinstance(error, PermissionError):
            raise OSError(
                f"another process writes into {folder}: wait until it has ended, or give another --out."
            ) from error
        raise OSError(f"{folder} could not be written ({error.strerror}).") from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            file.unlink()
        os.close(handle)
        _remove_empty(made)


def _locked(file: Path) -> int:
    """An open file that is locked, and still the one of that name. Raises: BlockingIOError if it is taken."""
    while True:
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _NO_LOCKS_HERE:
                return handle
            os.close(handle)
            raise
        # The holder before us may have removed the file after we opened it: then others would lock a new one.
        try:
            same = os.fstat(handle).st_ino == file.stat().st_ino
        except FileNotFoundError:
            same = False
        if same:
            return handle
        os.close(handle)


def _remove_empty(folders: list[Path]) -> None:
    """Remove the folders that we made, innermost first, as far as nothing is in them."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()
