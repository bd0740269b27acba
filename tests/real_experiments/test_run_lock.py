"""One process writes into a folder at a time, and a lock never outlives its process."""

import subprocess
import sys
from pathlib import Path

import pytest

from real_experiments.run_lock import sole_writer


def test_a_second_writer_is_refused_with_one_sentence_until_the_first_has_ended(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    with sole_writer(folder):
        with pytest.raises(OSError, match=r"another process is writing to .*r: wait until it has ended"):
            sole_writer(folder).__enter__()
        (folder / "metrics.csv").write_text("epoch\n")
    with sole_writer(folder):
        pass
    assert [file.name for file in folder.iterdir()] == ["metrics.csv"]


def test_a_folder_in_which_nothing_was_written_is_not_left_behind(tmp_path: Path) -> None:
    with sole_writer(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()
    assert not (tmp_path / "a").exists()


def test_a_process_that_died_with_the_lock_locks_nobody_out(tmp_path: Path) -> None:
    program = (
        "import os, sys, pathlib\n"
        "from real_experiments.run_lock import sole_writer\n"
        "held = sole_writer(pathlib.Path(sys.argv[1]))\n"
        "held.__enter__()\n"
        "os._exit(9)\n"
    )
    died = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False, timeout=120)
    assert died.returncode == 9
    with sole_writer(tmp_path):
        pass
    assert not list(tmp_path.iterdir())
