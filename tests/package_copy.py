"""A copy of a package with something added, and Python programs that see the copy instead of the package."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import ulpm

ROOT = Path(ulpm.__file__).parent.parent


def changed(package: Path, folder: Path, files: dict[str, str], lines: dict[str, tuple[str, str]]) -> Path:
    """Copy ``package`` into ``folder``, with new files and one line more in an old one: after the first text comes the
    second. Returns: ``folder``.
    """
    copy = folder / package.name
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__", "results"))
    for name, text in files.items():
        assert not (copy / name).exists()
        (copy / name).write_text(text, encoding="utf-8")
    for name, (before, line) in lines.items():
        text = (copy / name).read_text(encoding="utf-8")
        assert text.count(before) == line.count("\n") == 1
        (copy / name).write_text(text.replace(before, before + line), encoding="utf-8")
    return folder


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A Python that sees the copy first."""
    path = os.pathsep.join([str(folder), str(ROOT)])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"}
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def runs(folder: Path, code: str) -> None:
    done = run(folder, "-c", "import math, torch, ulpm\n" + code)
    assert done.returncode == 0, done.stderr[-2000:]
