"""What commands say: on the terminal, by the leading process alone, and in files for machines."""

import json
import re
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markdown import Markdown

from ulpm import _files
from ulpm.distributed import torchrun_place

__all__ = ["can_draw", "complain", "in_options", "leads", "say", "show", "write_json"]

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
    if leads() and sys.stdout is not None and sys.stdout.isatty():
        Console().print(Markdown(table))
    else:
        say(table)


def say(text: str) -> None:
    """A line, as it is."""
    if leads():
        print(_speakable(text, sys.stdout), flush=True)


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
    """A sentence on standard error."""
    print(_speakable(f"ulpm: {sentence}", sys.stderr), file=sys.stderr, flush=True)


def _speakable(text: str, stream: Any) -> str:
    """``text`` with a question mark for what the encoding of ``stream`` lacks."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)
