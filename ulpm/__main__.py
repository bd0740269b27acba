"""``python -m ulpm`` is the command ``ulpm``."""

import sys

from ulpm.cli import main

if __name__ == "__main__":
    sys.exit(main())
