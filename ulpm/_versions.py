"""The versions that a result was made with."""

import importlib.metadata
import platform


def versions() -> dict[str, str]:
    """Of ulpm, python, torch and numpy."""
    packages = {name: importlib.metadata.version(name) for name in ("ulpm", "torch", "numpy")}
    return {**packages, "python": platform.python_version()}
