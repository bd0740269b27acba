"""matplotlib as it is delivered: figures are the same files whatever backend, style or font the reader has set."""

import contextlib
import os
import sys
from collections.abc import Iterator

from ulpm._extras import needs

# A notebook sets MPLBACKEND for the commands that it starts too, and where they run it may not be installed. matplotlib
# cannot be imported then, so that the name is hidden from it and set afterwards if it is valid.
_backend = None if "matplotlib" in sys.modules else os.environ.pop("MPLBACKEND", None)
try:
    with needs("ulpm.plotting"):
        from matplotlib import rc_context, rcParams
        from matplotlib import style as matplotlib_style
finally:
    if _backend is not None:
        os.environ["MPLBACKEND"] = _backend
if _backend:
    with contextlib.suppress(ValueError):
        rcParams["backend"] = _backend

__all__ = ["house_style"]


@contextlib.contextmanager
def house_style() -> Iterator[None]:
    """Within it, or within a function that it decorates, matplotlib's own defaults hold; afterwards the reader's."""
    # The salt names the elements of an svg file, at random otherwise.
    with matplotlib_style.context("default"), rc_context({"svg.hashsalt": "ulpm"}):
        yield
