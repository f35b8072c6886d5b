"""A search that is a guest in a process leaves it as it was."""

import logging
import os
import signal
import sys
import threading
import warnings
from pathlib import Path

import process_state
import pytest

from tuner import process


def test_what_a_search_changes_is_restored(tmp_path: Path) -> None:
    logger = logging.getLogger("a library")
    logger.setLevel(logging.INFO)
    logging.getLogger("another library").setLevel(logging.INFO)
    process.silence("another library", logging.ERROR)  # as at an import before
    os.environ["A_VARIABLE"] = "before"
    before = process_state.snapshot()
    try:
        with process.restored():
            os.environ |= {"A_VARIABLE": "during", "RAY_x": "1", "PYTHONPATH": "/nowhere"}
            sys.path.append(str(tmp_path))
            for level in (logging.ERROR, logging.CRITICAL):
                process.silence("a library", level)
            warnings.filterwarnings("ignore", "anything")
            signal.signal(signal.SIGUSR1, lambda *_: None)
            sys.excepthook = lambda *_: None
            assert len(process_state.changed(before)) == 6
            assert logger.level == logging.CRITICAL
        assert process_state.changed(before) == {}
    finally:
        del os.environ["A_VARIABLE"]


def test_signals_are_left_alone_off_the_main_thread() -> None:
    before, faults = process_state.snapshot(), []

    def run() -> None:
        try:
            with process.restored():
                pass
        except ValueError as error:
            faults.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert (faults, process_state.changed(before)) == ([], {})


def test_a_ctrl_c_that_python_drops_is_raised_later(monkeypatch: pytest.MonkeyPatch) -> None:
    class Destroyed:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with process.interrupts_noted():
        process.raise_dropped_interrupt()
        dropped: list[object] = []
        monkeypatch.setattr(sys, "unraisablehook", dropped.append)
        Destroyed()
        assert len(dropped) == 1
        with pytest.raises(KeyboardInterrupt):
            process.raise_dropped_interrupt()
    assert signal.getsignal(signal.SIGINT) is before
    with process.interrupts_noted():
        process.raise_dropped_interrupt()  # that was another command's
