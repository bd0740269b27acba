"""What commands say: on the terminal, by the leading process alone, and in files for machines."""

import contextlib
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markdown import Markdown

from ulpm import _files
from ulpm.distributed import torchrun_place

__all__ = ["can_draw", "complain", "in_options", "leads", "say", "show", "unsaid", "write_json"]

_failures: list[OSError] = []

# Arguments of the library that are options of the commands under the same name.
_UNMISTAKABLE = (
    "class_counts",
    "feature_dim",
    "log10_time",
    "log_time",
    "log_loss",
    "max_steps",
    "label_smoothing",
    "weight_decay",
    "checkpoint_seconds",
)
_ALSO_WORDS = (
    "seed",
    "scale",
    "replicas",
    "rtol",
    "records",
    "snapshots",
    "device",
    "dtype",
    "features",
    "gamma",
    "reduction",
)
_OPTION = re.compile(
    rf"(?<![\w/.-])({'|'.join(_UNMISTAKABLE)})(?:\[\d\])?(?![\w/]|\.\w)"  # wherever it is not part of a file name
    rf"|(?:(?<=^)|(?<=raise )|(?<=lower ))({'|'.join(_ALSO_WORDS)})(?= must|,|:)"
)


def in_options(sentence: str) -> str:
    """A sentence of the library with the options of the command line in place of the arguments of Python.

    >>> in_options("feature_dim must be at least 1, but 0 was given.")
    '--feature-dim must be at least 1, but 0 was given.'
    """
    return _OPTION.sub(lambda found: "--" + (found[1] or found[2]).replace("_", "-"), sentence)


def write_json(path: Path | None, result: Any) -> None:
    """Replace the file, if one was asked for."""
    if path is not None:
        _files.write_text(path, json.dumps(result, indent=2, allow_nan=False) + "\n")


def show(table: str) -> None:
    """A Markdown table."""
    # Piped on, the Markdown itself is of more use than a picture of it.
    if sys.stdout is not None and sys.stdout.isatty():
        _print(Markdown(table))
    else:
        say(table)


def say(text: str) -> None:
    """A line, as it is."""
    _print(text)


def can_draw() -> bool:
    """Whether figures can be drawn; if not, a sentence says what is missing."""
    try:
        import ulpm.plotting  # noqa: F401
    except ImportError as error:
        say(f"There are no figures: {error}")
        return False
    return True


def leads() -> bool:
    """Whether this is the process that speaks, of those that torchrun started."""
    try:
        return torchrun_place().leads
    except ValueError:
        return True


def complain(sentence: str) -> None:
    """A sentence on standard error; where that cannot be written either, there is nobody to tell."""
    stream = sys.stderr
    if stream is not None:
        with contextlib.suppress(OSError, ValueError):
            print(_speakable(f"ulpm: {sentence}", stream), file=stream, flush=True)


def unsaid() -> OSError | None:
    """Why something could not be printed, if so; asked once. That nobody reads on, as after `| head`, is no reason."""
    failure = next((error for error in _failures if not isinstance(error, BrokenPipeError)), None)
    _failures.clear()
    return failure


def _print(what: str | Markdown) -> None:
    """Print, or remember why not: a run is not to end for what it cannot say."""
    if not leads() or sys.stdout is None or _failures:
        return
    try:
        if isinstance(what, Markdown):
            Console().print(what)
        else:
            print(_speakable(what, sys.stdout))
        sys.stdout.flush()
    except OSError as error:
        _failures.append(error)
        # What is left in the buffer would be tried again, and complained about, at the very end.
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)


def _speakable(text: str, stream: Any) -> str:
    """``text`` with a question mark for what the encoding of ``stream`` lacks."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)
