"""Standard output and standard error of any encoding, in terminals of any width, for readers who may leave."""

import contextlib
import io
import os
import shutil
import sys
from collections.abc import Iterator

__all__ = ["any_terminal"]

# In fewer columns than this tyro lays help out as it does in so many, and in fewer than six it never returns.
_FEWEST_COLUMNS = 40


@contextlib.contextmanager
def any_terminal() -> Iterator[None]:
    """For the reading of a command line, which may print help.

    From here on, characters that standard output or standard error cannot encode are replaced instead of ending the
    command, and help is laid out for 40 columns at least. Where nobody reads it to the end, as in ``--help | head``,
    the process ends without a word.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    if shutil.get_terminal_size().columns < _FEWEST_COLUMNS:
        os.environ["COLUMNS"] = str(_FEWEST_COLUMNS)
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # What is left in the buffer would be tried again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
