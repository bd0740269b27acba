"""Signals that end a program, between steps and never inside one: a run that is stopped leaves a state to resume."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

__all__ = ["Interrupted", "deferred_interrupt", "signals_as_interrupts"]

# Of SIGTERM and SIGHUP, which a batch system or a closed terminal sends; Windows has no SIGHUP.
_OTHERS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Interrupted(KeyboardInterrupt):
    """A KeyboardInterrupt that knows its signal. ``exit_status`` is 128 + its number, as shells count."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.exit_status = 128 + number


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted(number)


@contextlib.contextmanager
def signals_as_interrupts() -> Iterator[None]:
    """Within it SIGTERM and SIGHUP raise ``Interrupted``, wherever the program is.

    Signals that are ignored, as under nohup, or that somebody else handles stay as they are; so do all outside the main
    thread.
    """
    with _handled(_interrupt, [number for number in _OTHERS if _free(number)]):
        yield


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Within it, the first SIGINT, SIGTERM or SIGHUP only makes the yielded function return True.

    The second one raises ``Interrupted``, and so does leaving by a KeyboardInterrupt after the first. SIGTERM and
    SIGHUP that are ignored, as under nohup, or that somebody else handles stay as they are. Signals belong to the main
    thread: in any other the function returns False and nothing is changed.
    """
    received: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        if received:
            raise Interrupted(number)
        received.append(number)

    with _handled(remember, [signal.SIGINT, *(number for number in _OTHERS if _free(number))]):
        try:
            yield lambda: bool(received)
        except KeyboardInterrupt as error:
            if received and not isinstance(error, Interrupted):
                raise Interrupted(received[0]) from error
            raise


def _free(number: int) -> bool:
    """Whether nobody but the system, or this module, has a say about a signal."""
    return signal.getsignal(number) in (signal.SIG_DFL, _interrupt)


@contextlib.contextmanager
def _handled(handler: Callable[[int, FrameType | None], None], numbers: list[int]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, before in previous.items():
            if signal.getsignal(number) is handler:  # else somebody ignores it until the last sentence is printed
                signal.signal(number, before)
