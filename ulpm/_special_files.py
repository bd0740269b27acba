"""Names that are no regular files: /dev/stdout, devices, pipes. They are written to, never replaced."""

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

_MOST_LINKS = 40


def is_special(path: Path) -> bool:
    """Whether ``path`` leads to an open file of this process, a device, a pipe or a socket."""
    if _descriptor(path) is not None:
        return True
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def write_through(path: Path, write: Callable[[Path], object]) -> None:
    """Call ``write`` on a temporary file, and copy what it wrote into ``path``. Raises: OSError if that fails."""
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / f"whole{path.suffix}"
        write(whole)
        number = _descriptor(path)
        if number is not None:
            # What was printed before stays before.
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
        handle = os.open(path, os.O_WRONLY) if number is None else os.dup(number)
        with os.fdopen(handle, "wb") as target, whole.open("rb") as source:
            shutil.copyfileobj(source, target)


def _descriptor(path: Path) -> int | None:
    """N if ``path`` leads to descriptor N of this process, as /dev/stdout does: even if that is a regular file.

    To open it by name would write from its beginning, and to replace it would cut it off from the process.
    """
    name = path.absolute()
    for _ in range(_MOST_LINKS):
        folder = Path(os.path.realpath(name.parent))
        if str(folder) in ("/dev/fd", f"/proc/{os.getpid()}/fd") and name.name.isascii() and name.name.isdigit():
            return int(name.name)
        if not name.is_symlink():
            return None
        name = folder / name.readlink()
    return None
