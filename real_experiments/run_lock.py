"""One process at a time writes into the folder of a run."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ulpm.support import files

__all__ = ["sole_writer"]


@contextlib.contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold the lock of ``folder``, which is made if it is not there and removed again if nothing was written into it.

    Raises: OSError with one sentence if another process holds it, or the folder cannot be made.
    """
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    files.make_folder(folder)
    with files.locked(folder):
        try:
            yield
        finally:
            # Innermost first, as far as nothing is in them.
            with contextlib.suppress(OSError):
                for each in made:
                    each.rmdir()
