"""What is no regular file is written to and stays what it is; links lead to what is replaced."""

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ulpm import _files

PRINTS = """
import sys
from pathlib import Path
from ulpm import _files
print("before")
_files.write_text(Path(sys.argv[1]), "whole\\n")
print("after")
"""


@pytest.mark.parametrize("name", ["/dev/stdout", pytest.param("/dev/fd/1", marks=pytest.mark.slow), "link"])
def test_standard_output_into_a_file_keeps_what_is_printed_around(name: str, tmp_path: Path) -> None:
    if name == "link":
        (tmp_path / name).symlink_to("/dev/stdout")
    with (tmp_path / "out").open("wb") as out:
        subprocess.run([sys.executable, "-c", PRINTS, name], stdout=out, check=True, cwd=tmp_path)
    assert (tmp_path / "out").read_text() == "before\nwhole\nafter\n"
    assert name != "link" or (tmp_path / name).is_symlink()


def test_a_device_stays_a_device() -> None:
    _files.write_text(Path(os.devnull), "x")
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux that is always full")
def test_a_full_device_is_one_sentence() -> None:
    with pytest.raises(OSError, match=r"^/dev/full could not be written \(No space left on device\)\.$"):
        _files.write_text(Path("/dev/full"), "x")


def test_a_pipe_gets_the_text_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()))
    reader.start()
    _files.write_text(pipe, "ρ²")
    reader.join()
    assert got == ["ρ²"]
    assert pipe.is_fifo()


def test_a_link_stays_and_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there" / "file")
    for text in ("one", "two"):
        _files.write_text(tmp_path / "link", text)
        assert (tmp_path / "there" / "file").read_text() == text
    assert (tmp_path / "link").is_symlink()
    assert [file.name for file in (tmp_path / "there").iterdir()] == ["file"]
