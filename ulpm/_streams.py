"""Standard output and standard error of any encoding."""

import io
import sys

__all__ = ["accept_any_encoding"]


def accept_any_encoding() -> None:
    """Characters that standard output or standard error cannot encode are replaced instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
