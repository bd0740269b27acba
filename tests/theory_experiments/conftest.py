"""Set-up of the tests of the experiments: their shared helper is found whatever the import mode."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
