"""Ends a process that has stood still for too long, and says where it stood."""

import faulthandler
from collections.abc import Iterator
from contextlib import contextmanager

#: Standard error, whatever Python has in its place: Ray's log of the worker.
_STDERR = 2


class Watchdog:
    """Ends the process with exit status 1 where nothing was heard of its work for ``timeout_s``.

    A thread of the interpreter's own keeps the time: it needs no lock that the work could hold, so
    that code which never comes back to Python is ended too. Before that it writes where every
    thread stands to standard error. A process has one such clock: one watchdog at a time.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s

    def __enter__(self) -> "Watchdog":
        """Start the clock."""
        self.heard()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it, however the work ended: the process may be given other work."""
        faulthandler.cancel_dump_traceback_later()

    def heard(self) -> None:
        """Restart the clock."""
        faulthandler.dump_traceback_later(self._timeout_s, exit=True, file=_STDERR)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Stop the clock while the work waits for another process, which may be slow."""
        faulthandler.cancel_dump_traceback_later()
        yield
        self.heard()  # not where waiting ended in an exception: the work is over
