"""The benchmarks run from end to end in small, and the page has what it should have."""

import subprocess
import sys
from pathlib import Path

import pytest

SECTIONS = ("Reach", "Error against work", "Replicas", "Cost of an evaluation", "A large problem")


@pytest.mark.slow
def test_the_quick_run_writes_a_page_with_every_section_and_figure(tmp_path: Path) -> None:
    pytest.importorskip("torchdiffeq", reason="the benchmarks compare with torchdiffeq")
    program = Path(__file__).with_name("run.py")
    command = [sys.executable, program, "--quick", "--out", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    for title in SECTIONS:
        assert f"\n## {title}\n" in text
    assert "nan" not in text
    assert "\n## Several processes\n" in (tmp_path / "scaling.md").read_text(encoding="utf-8")
    figures = {file.name for file in tmp_path.glob("*.png")}
    assert figures == {"benchmarks-work-precision.png", "benchmarks-evaluation-cost.png"}
    assert all(name in text for name in figures)
