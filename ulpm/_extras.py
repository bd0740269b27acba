"""Packages that only a part of the library needs: imported where they are used, installed by an extra."""

import contextlib
from collections.abc import Iterator

__all__ = ["EXTRAS", "needs"]

EXTRAS = {
    "cvxpy": "optimality",
    "matplotlib": "plotting",
    "plotly": "demo",
    "rich": "cli",
    "tyro": "cli",
    "xarray": "xarray",
}
"""The extra in pyproject.toml that installs each optional package."""


@contextlib.contextmanager
def needs(who: str) -> Iterator[None]:
    """Around the import of an optional package: if it is missing, one sentence says who needs it and names the extra.

    Raises: ImportError in place of the ModuleNotFoundError of a package in ``EXTRAS``.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        sentence = f"{who} needs the package {package}: pip install 'ulpm[{EXTRAS[package]}]'."
        raise ImportError(sentence, name=package) from error
