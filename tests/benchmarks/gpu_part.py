"""A part of the measurements on a device, run in a process of its own within a limit of time."""

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection

import torch
from report import Goal, Tell

Row = tuple[object, ...]
Measure = Callable[[torch.device, Tell], Iterator[Row | Goal]]

_LONGEST_REASON = 300
# Imported once, by the process that the others are forked from, which never uses a device.
_SHARED_MODULES = ["torch", "ulpm"]


@dataclasses.dataclass(frozen=True)
class Part:
    """A section of the page: ``measure`` yields the rows of its table, and goals, one at a time.

    ``share`` is its weight when parts share out the time that is left.
    """

    title: str
    text: str
    header: Sequence[str]
    share: float
    measure: Measure


@dataclasses.dataclass(frozen=True)
class Stopped:
    """A part ended before it was complete, and why."""

    reason: str


def results(part: Part, device: str, seconds: float) -> Iterator[Row | Goal | Stopped]:
    """What a part measures, as it comes; last a ``Stopped`` if it failed or took longer than ``seconds``.

    A process of its own, since a CUDA error spoils all later work of its process, and a hung kernel cannot be stopped
    from within. It is forked from one that has imported torch, which saves seconds a part.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_SHARED_MODULES)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(part.title, part.measure, device, sender))
    end = time.monotonic() + seconds
    process.start()
    sender.close()
    try:
        while receiver.poll(max(0.0, end - time.monotonic())):
            result = receiver.recv()
            if result is None:
                return
            yield result
            if isinstance(result, Stopped):
                return
        yield Stopped(f"stopped after its limit of {seconds:.0f} s")
    except EOFError:
        process.join(1)
        yield Stopped(f"failed: its process ended with exit code {process.exitcode}")
    finally:
        # With the processes that it has started.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.join(5)


def _work(title: str, measure: Measure, device: str, sender: Connection) -> None:
    os.setpgrp()

    def tell(what: str) -> None:
        print(f"  {title}: {what}", file=sys.stderr, flush=True)

    try:
        for result in measure(torch.device(device), tell):
            sender.send(result)
    except Exception as error:
        traceback.print_exc()
        lines = str(error).splitlines() or [""]
        reason = f"failed: {type(error).__name__}: {lines[0]}"
        sender.send(Stopped(reason[:_LONGEST_REASON].replace("|", "\\|")))
    else:
        sender.send(None)
