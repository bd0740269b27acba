"""``python -m ulpm`` is the command ``ulpm``."""

import sys

from ulpm._extras import needs
from ulpm._streams import in_any_terminal
from ulpm._versions import own_version


def main() -> int:
    """Run the command. Without the packages of the extra ``cli`` it has only its version and one sentence to say."""
    if sys.argv[1:] == ["--version"]:
        return in_any_terminal("ulpm", _say_version)
    try:
        with needs("the command ulpm"):
            from ulpm.cli import main as command
    except ImportError as error:
        print(f"ulpm: {error}", file=sys.stderr)
        return 1
    return command()


def _say_version() -> int:
    print(f"ulpm {own_version()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
