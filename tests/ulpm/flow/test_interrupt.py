"""SIGTERM and SIGHUP end a run as Ctrl-C does: at the next step, with their own exit status."""

import os
import signal

import pytest

from ulpm.flow.interrupt import Interrupted, deferred_interrupt, signals_as_interrupts

ALL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.mark.parametrize("number", ALL)
def test_the_first_signal_is_remembered_and_the_second_one_ends(number: int) -> None:
    before = [signal.getsignal(each) for each in ALL]

    def twice() -> None:
        with signals_as_interrupts(), deferred_interrupt() as interrupted:
            assert not interrupted()
            os.kill(os.getpid(), number)
            assert interrupted()
            os.kill(os.getpid(), number)

    with pytest.raises(Interrupted) as caught:
        twice()
    assert caught.value.exit_status == 128 + number
    assert [signal.getsignal(each) for each in ALL] == before


@pytest.mark.parametrize("number", ALL)
def test_a_run_that_stops_for_a_signal_tells_which(number: int) -> None:
    def stopped() -> None:
        with deferred_interrupt() as interrupted:
            os.kill(os.getpid(), number)
            if interrupted():
                raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        stopped()
    assert caught.value.exit_status == 128 + number


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_raise_between_runs_as_well(number: int) -> None:
    with pytest.raises(Interrupted), signals_as_interrupts():
        os.kill(os.getpid(), number)


def test_a_signal_that_is_ignored_or_taken_stays_so() -> None:
    taken = []
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN), signal.signal(signal.SIGTERM, lambda *_: taken.append(1))
    try:
        with signals_as_interrupts(), deferred_interrupt() as interrupted:
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
            assert not interrupted()
        assert taken == [1]
    finally:
        signal.signal(signal.SIGHUP, before[0])
        signal.signal(signal.SIGTERM, before[1])
