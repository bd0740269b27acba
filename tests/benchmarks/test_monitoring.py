"""A monitor costs little beyond its forward passes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_a_measurement_adds_at_most_five_percent_to_its_forward_passes() -> None:
    # In a process of its own: the checker of signatures, which tests switch on, would be measured too.
    script = Path(__file__).with_name("monitoring.py")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=600, check=True)
    shares = [float(share) for share in re.findall(r"\| ([-\d.]+)% \|", done.stdout)]
    assert len(shares) == 3
    assert max(shares) <= 5.0, done.stdout
