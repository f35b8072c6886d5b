"""Ctrl-C, SIGTERM and SIGHUP: the first has a search stop in order, the second ends it at once."""

import signal
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, final


@final
class Interruption(threading.Event):
    """Event that is set once a search shall stop."""

    def __init__(self) -> None:
        super().__init__()
        self._breaks = False
        self._is_broken_off = self._is_held = False
        self._own: deque[None] = deque()  # signals of break_off's that are not handled yet

    def listen(self) -> dict[int, Any]:
        """Handle the signals from now on; return their handlers until now, by signal."""
        handled = [signal.SIGINT, signal.SIGTERM]
        if (
            signal.getsignal(signal.SIGHUP) != signal.SIG_IGN
        ):  # else nohup has the search outlive it
            handled.append(signal.SIGHUP)
        if threading.current_thread() is not threading.main_thread():
            return {}
        return {number: signal.signal(number, self.handle) for number in handled}

    @contextmanager
    def breaking(self) -> Iterator[None]:
        """Run a block that can be left at any point: an interruption raises KeyboardInterrupt."""
        self._breaks = True
        try:
            if self.is_set():
                raise KeyboardInterrupt
            yield
        finally:
            self._breaks = False

    def break_off(self) -> None:
        """Raise KeyboardInterrupt in the main thread, from another one; nothing elsewhere."""
        if signal.getsignal(signal.SIGINT) == self.handle:
            self._is_broken_off = True
            self._wake_main()

    def remind(self) -> None:
        """Repeat the signal of :meth:`break_off`, unless the main thread has handled it.

        A signal ends a wait in a system call that has begun. One that arrives between the last
        look at signals and that call is only noticed once the wait is over, after minutes perhaps.
        """
        if self._is_broken_off and not self._is_held:
            self._wake_main()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Run a block that :meth:`break_off` leaves at its end only: what it writes is whole."""
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
        self._leave_if_broken_off()

    def end_breaks(self) -> None:
        """Let :meth:`break_off` do nothing from now on."""
        self._is_held, self._is_broken_off = True, False

    def _leave_if_broken_off(self) -> None:
        if self._is_broken_off and not self._is_held:
            self._is_broken_off = False
            raise KeyboardInterrupt

    def _wake_main(self) -> None:
        if (main := threading.main_thread().ident) is not None:
            self._own.append(None)
            signal.pthread_kill(main, signal.SIGINT)  # also ends a wait within a library

    def handle(self, *_: object) -> None:
        """Handle a signal."""
        if self._own or self._is_broken_off:
            with suppress(IndexError):
                self._own.pop()
            self._leave_if_broken_off()
            return
        was_set = self.is_set()
        self.set()
        if was_set or self._breaks:
            raise KeyboardInterrupt


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Give an event that the first Ctrl-C, SIGTERM or SIGHUP sets.

    Signals belong to the main thread: elsewhere they are left to the program that the search is
    part of.
    """
    interrupted = Interruption()
    before = interrupted.listen()
    try:
        yield interrupted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
