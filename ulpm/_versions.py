"""The version of the package, and the versions that a result was made with."""

import functools
import importlib.metadata
import platform


def own_version() -> str:
    """The version in the metadata of the installed package, which come from pyproject.toml.

    A folder that is on the path without being installed has none.
    """
    try:
        return importlib.metadata.version("ulpm")
    except importlib.metadata.PackageNotFoundError:
        return "0+unknown"


@functools.cache
def versions() -> dict[str, str]:
    """Of ulpm, python, torch and numpy."""
    packages = {name: importlib.metadata.version(name) for name in ("torch", "numpy")}
    return {"ulpm": own_version(), **packages, "python": platform.python_version()}
