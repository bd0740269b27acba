"""Commands whose standard output or standard error is closed, full or without a reader end as they would otherwise."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import pytest
from rich.console import Console

from ulpm.__main__ import main
from ulpm._streams import in_any_terminal

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux that is always full")


def unread() -> TextIO:
    """A pipe whose reader has left."""
    reading, writing = os.pipe()
    os.close(reading)
    return os.fdopen(writing, "w")


def full() -> TextIO:
    return os.fdopen(os.open("/dev/full", os.O_WRONLY), "w")


STREAMS: dict[str, Callable[[], TextIO | None]] = {
    "closed": lambda: None,
    "full": full,
    "unread": unread,
}


def printing(end: int, by_exit: bool) -> Callable[[], int]:
    def command() -> int:
        print("out", flush=True)
        print("err", file=sys.stderr, flush=True)
        for stderr in (False, True):
            Console(stderr=stderr).print("by rich")
        if by_exit:
            sys.exit(end)
        return end

    return command


def status_of(command: Callable[[], int]) -> int:
    try:
        return in_any_terminal("ulpm", command)
    except SystemExit as end:
        return int(end.code or 0)


@pytest.mark.parametrize("by_exit", [False, True])
@pytest.mark.parametrize("end", [0, 2, 130])
@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_stream_that_fails_changes_no_exit_status_but_success_that_is_not_seen(
    name: str, kind: str, end: int, by_exit: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = STREAMS[kind]()
    monkeypatch.setattr(sys, name, stream)
    status = status_of(printing(end, by_exit))
    assert getattr(sys, name) is stream
    if stream is not None:
        stream.close()  # nothing is left in it that fails once more
    lost = name == "stdout" and kind == "full"
    assert status == (end or int(lost))
    shown = capsys.readouterr()
    sentence = "ulpm: standard output could not be written (No space left on device).\n" * lost
    assert (shown.out, shown.err) == (("", "err\nby rich\n" + sentence) if name == "stdout" else ("out\nby rich\n", ""))


@pytest.mark.parametrize(
    ("kind", "status", "sentence"),
    [
        ("closed", 0, ""),
        ("full", 1, "ulpm: standard output could not be written (No space left on device).\n"),
        ("unread", 0, ""),
    ],
)
def test_the_version_has_no_traceback_where_it_cannot_be_shown(
    kind: str, status: int, sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = STREAMS[kind]()
    monkeypatch.setattr(sys, "argv", ["ulpm", "--version"])
    monkeypatch.setattr(sys, "stdout", stream)
    assert main() == status
    if stream is not None:
        stream.close()
    assert capsys.readouterr().err == sentence
