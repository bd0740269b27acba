"""Standard output and standard error of any encoding, in terminals of any width, for readers who may leave."""

import contextlib
import io
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["Unfailing", "in_any_terminal", "wide_enough"]

# In fewer columns than this tyro lays help out as it does in so many, and in fewer than six it never returns.
_FEWEST_COLUMNS = 40


class Unfailing(io.TextIOBase):
    """A stream in whose place a full disk or a closed pipe would end the run: what cannot be shown is not shown.

    ``failure`` is the first reason of the system.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._try(lambda: self._stream.flush())

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        return super().fileno() if self._stream is None else int(self._stream.fileno())

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(self._stream, "encoding", None) or "utf-8"

    @property
    def reason(self) -> str:
        """Why something was not printed that somebody waits for; empty if nothing was lost."""
        self.flush()
        return "" if self.failure is None or isinstance(self.failure, BrokenPipeError) else str(self.failure.strerror)

    def _try(self, act: Callable[[], object]) -> None:
        try:
            if self._stream is not None:
                act()
        except OSError as error:
            self.failure = self.failure or error
        except ValueError:
            pass  # the stream has been closed


@contextlib.contextmanager
def wide_enough() -> Iterator[None]:
    """For the reading of a command line: help is laid out for 40 columns at least, also in a narrower terminal."""
    before = os.environ.get("COLUMNS")
    if shutil.get_terminal_size().columns < _FEWEST_COLUMNS:
        os.environ["COLUMNS"] = str(_FEWEST_COLUMNS)
    try:
        yield
    finally:
        os.environ.pop("COLUMNS", None)
        if before is not None:
            os.environ["COLUMNS"] = before


def in_any_terminal(program: str, command: Callable[[], int]) -> int:
    """Call ``command``, which reads a command line, prints its help, and runs. Returns: its exit status.

    Nothing that cannot be printed ends it. Characters that the encoding of standard output or standard error lacks are
    replaced, and a reader who leaves, as in ``--help | head``, is not missed. Where standard output fails otherwise, as
    on a full disk, a sentence of the ``program`` says so, and success becomes the exit status 1.
    """
    before = sys.stdout, sys.stderr
    for stream in before:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    out, err = map(Unfailing, before)
    sys.stdout, sys.stderr = out, err
    try:
        try:
            status = command()
        except SystemExit as end:  # after help, or a mistake in the arguments
            if not out.reason:
                raise
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if out.reason:
            print(f"{program}: standard output could not be written ({out.reason}).", file=err)
            status = status or 1
        return status
    finally:
        sys.stdout, sys.stderr = before
        for stream in (out, err):
            stream.flush()
            if stream.failure is not None:
                _forget(stream)


def _forget(stream: Unfailing) -> None:
    """Lead to nowhere what is left in the buffer, which would be tried again, and complained about, at exit."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
