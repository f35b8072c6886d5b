"""Watch the servers of a Ray that was started here: the loss of one ends the search in order.

Ray itself ends the driver's process when it next needs a server that is gone: within seconds for a
raylet, after a minute for the control store, in which the main thread may wait within Ray.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any, final

import ray

from tuner.cluster.interruption import Interruption
from tuner.errors import Halted
from tuner.record import Record

#: The servers without which Ray ends the process that started them.
NEEDED = ("gcs_server", "raylet")
_LOOK_EVERY_S = 0.2
#: Seconds in which the main thread leaves Ray after a loss, unless it is stuck there.
_PATIENCE_S = 6.0


@final
class Servers:
    """The servers of a Ray that was started here, from their start; none of a joined cluster."""

    def __init__(self, interrupted: Interruption, give_up: Callable[[str], object]) -> None:
        """Watch nothing yet.

        Args:
            interrupted: Has the main thread leave Ray after a loss.
            give_up: Ends this process with a reason, if the main thread does not leave Ray.
        """
        self._interrupted = interrupted
        self._give_up = give_up
        self._processes: dict[str, Popen[bytes]] = {}
        self._record: Record | None = None
        self._loss: str | None = None
        self._is_left = threading.Event()

    def add(self, process: "Popen[bytes]") -> None:
        """Watch a process that Ray has started, if it is one of :data:`NEEDED`."""
        command: Any = process.args
        if (name := Path(command[0]).name) in NEEDED:
            self._processes[name] = process

    def forget(self) -> None:
        """Watch none of the processes any more, which are about to be ended."""
        self._processes = {}

    def halt_on_loss(self, record: Record) -> None:
        """Halt this search after a loss."""
        self._record = record

    def are_lost(self) -> bool:
        """Tell whether one of them has ended; if so, halt the search.

        What Ray says about trials is then not about them.
        """
        if self._loss is None:
            ended = {n: p.returncode for n, p in self._processes.items() if p.poll() is not None}
            self._loss = next((_loss(name, status) for name, status in ended.items()), None)
        if self._loss is not None and self._record is not None:
            self._record.halt(self._loss)
        return self._loss is not None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch them in a block that ends with Ray left, by an exception as soon as one has ended.

        Raises:
            Halted: if one has ended, and so the block by an exception.
        """
        watch = threading.Thread(target=self._watch, name="servers", daemon=True)
        watch.start()
        try:
            yield
        except (KeyboardInterrupt, Exception) as error:
            if not self.are_lost():
                raise
            raise Halted(str(self._loss)) from error
        finally:
            self._is_left.set()
            watch.join()

    @contextmanager
    def halting(self) -> Iterator[None]:
        """Leave a block without an exception after a loss: the record is halted then."""
        try:
            yield
        except (KeyboardInterrupt, Exception):
            if not self.are_lost():
                raise

    def leave(self) -> None:
        """Leave Ray, so that a later loss is none."""
        self._interrupted.end_breaks()
        self.are_lost()
        self.forget()
        ray.shutdown()
        self._is_left.set()

    def _watch(self) -> None:
        while not self._is_left.wait(_LOOK_EVERY_S):
            if self.are_lost():
                self._interrupted.break_off()
                if not self._is_left.wait(_PATIENCE_S):
                    self._give_up(str(self._loss))
                return


def _loss(name: str, status: int) -> str:
    killed = f"was killed by {signal.Signals(-status).name}" if status < 0 else "ended"
    return f"Ray's {name} on this machine {killed}"
