"""Watch the servers of a Ray that was started here, as a lost node ends the search in order.

Ray itself ends the driver's process when it next needs a server that is gone: within seconds for a
raylet, after a minute for the control store.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import Popen
from typing import final

import ray

from tuner.cluster.interruption import Interruption
from tuner.record import Record

_LOOK_EVERY_S = 0.2


@final
class Servers:
    """The servers without which Ray ends this process; none of a cluster that was joined."""

    def __init__(
        self, processes: dict[str, "Popen[bytes]"], record: Record, interrupted: Interruption
    ) -> None:
        """Watch nothing yet.

        Args:
            processes: The servers by name.
            record: Is halted once one of them has ended.
            interrupted: Has the main thread leave Ray then.
        """
        self._processes = processes
        self._record = record
        self._interrupted = interrupted
        self._is_lost = False

    def are_lost(self) -> bool:
        """Tell whether one of them has ended; if so, halt the search.

        What Ray says about trials is then not about them.
        """
        for name, process in self._processes.items():
            if (status := process.poll()) is not None:
                killed = f"was killed by {signal.Signals(-status).name}" if status < 0 else "ended"
                self._record.halt(f"Ray's {name} on this machine {killed}")
                self._is_lost = True
        return self._is_lost

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Leave a block of the main thread, wherever it waits for Ray, once one has ended."""
        is_over = threading.Event()
        watch = threading.Thread(target=self._watch, args=(is_over,), name="servers", daemon=True)
        watch.start()
        try:
            try:
                yield
            finally:
                is_over.set()
                watch.join()
        except KeyboardInterrupt:
            if not self._is_lost:
                raise
            ray.shutdown()  # or it would end this process while that writes the results

    def _watch(self, is_over: threading.Event) -> None:
        while not is_over.wait(_LOOK_EVERY_S):
            if self.are_lost():
                self._interrupted.break_off()
                return
