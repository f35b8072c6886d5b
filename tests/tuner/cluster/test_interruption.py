"""The first signal has a search stop in order, the second ends it; nothing outlives the block."""

import os
import signal
import threading
import time

import pytest

from tuner.cluster.interruption import Interruption, interruptible

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


def test_another_thread_breaks_a_wait_of_the_main_one_off() -> None:
    with interruptible() as interrupted:
        threading.Timer(0.05, interrupted.break_off).start()
        with pytest.raises(KeyboardInterrupt):
            time.sleep(60)
        assert not interrupted.is_set()
        os.kill(os.getpid(), signal.SIGINT)  # the user's first, as ever
        assert interrupted.is_set()


def test_a_held_block_is_broken_off_at_its_end() -> None:
    done = []
    with interruptible() as interrupted:

        def write(text: str) -> None:
            with interrupted.held():
                interrupted.break_off()
                done.append(text)

        with pytest.raises(KeyboardInterrupt):
            write("all of it")
        with interrupted.held():
            done.append("the next")
    assert done == ["all of it", "the next"]


def test_without_handlers_nothing_is_broken_off() -> None:
    Interruption().break_off()
    time.sleep(0.01)
