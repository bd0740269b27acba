"""Ctrl-C between steps, never inside one: a run that is interrupted leaves a state that can be resumed."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

__all__ = ["deferred_interrupt"]


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Within it, the first SIGINT only makes the yielded function return True; the second one is KeyboardInterrupt.

    Signals belong to the main thread: in any other the function returns False and nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    received = False
    previous = signal.getsignal(signal.SIGINT)

    def remember(number: int, frame: FrameType | None) -> None:
        nonlocal received
        if received:
            raise KeyboardInterrupt
        received = True

    signal.signal(signal.SIGINT, remember)
    try:
        yield lambda: received
    finally:
        signal.signal(signal.SIGINT, previous)
