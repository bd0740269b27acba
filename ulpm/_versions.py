"""The versions that a result was made with."""

import functools
import importlib.metadata
import platform


@functools.cache
def versions() -> dict[str, str]:
    """Of ulpm, python, torch and numpy."""
    packages = {name: importlib.metadata.version(name) for name in ("ulpm", "torch", "numpy")}
    return {**packages, "python": platform.python_version()}
