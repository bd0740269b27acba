"""Shell cells of the site: what commands print comes in one piece, and a command that fails fails the cell."""

import subprocess
import sys


def bash(line, cell):
    ran = subprocess.run(["bash", "-c", cell], capture_output=True, text=True)
    sys.stdout.write(ran.stdout)
    sys.stderr.write(ran.stderr)
    ran.check_returncode()


get_ipython().register_magic_function(bash, "cell", "bash")  # noqa: F821
