"""What commands say: on the terminal, by the leading process alone, and in files for machines."""

import json
import os
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markdown import Markdown

from ulpm import _files

__all__ = ["leads", "say", "show", "write_json"]


def write_json(path: Path | None, result: Any) -> None:
    """Replace the file, if one was asked for."""
    if path is not None:
        _files.write_text(path, json.dumps(result, indent=2, allow_nan=False) + "\n")


def show(table: str) -> None:
    """A Markdown table."""
    console = Console()
    # Piped on, the Markdown itself is of more use than a picture of it.
    console.print(Markdown(table)) if console.is_terminal else say(table)


def leads() -> bool:
    """Whether this is the process that speaks, of those that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


def say(text: str) -> None:
    """A line, as it is."""
    if leads():
        Console(soft_wrap=True, highlight=False).print(text, markup=False)
