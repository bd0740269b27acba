"""``python -m real_experiments``: its commands, once the packages that they need are there."""

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns: its exit status, or 1 with one sentence if a package is missing."""
    try:
        from real_experiments.command import main as command
    except ModuleNotFoundError as error:
        if error.name is None or "." in error.name:
            raise  # a part of a package that is there
        way = "in the checkout, pip install -e '.[experiments]'."
        print(f"real_experiments: the package {error.name} is missing: {way}", file=sys.stderr)
        return 1
    return command(arguments)


if __name__ == "__main__":
    sys.exit(main())
