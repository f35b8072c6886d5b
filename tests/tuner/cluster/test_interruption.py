"""The first signal has a search stop in order, the second ends it; nothing outlives the block."""

import os
import signal

import pytest

from tuner.cluster.interruption import interruptible

NUMBERS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize("number", NUMBERS)
def test_the_first_signal_is_noted_and_the_second_raised(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with interruptible() as interrupted:
        os.kill(os.getpid(), number)
        assert interrupted.is_set()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) == before


def test_handlers_that_another_library_set_are_replaced_and_not_restored() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with interruptible() as interrupted:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        interrupted.listen()
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupted.is_set()
    assert signal.getsignal(signal.SIGTERM) == before


def test_under_nohup_a_search_outlives_its_terminal() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible() as interrupted:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not interrupted.is_set()
    finally:
        signal.signal(signal.SIGHUP, before)
