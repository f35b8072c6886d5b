"""Watch the servers of a Ray that was started here: the loss of one ends the search in order.

Ray itself ends the driver's process when it next needs a server that is gone: within seconds for a
raylet, after a minute for the control store, in which the main thread may wait within Ray. A raylet
whose agent has ended leaves the cluster and ends, and Ray ends the driver 30 ms after the agent's
end. It does not while the raylet is stopped, which leaves time for a message.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any, final

import ray

from tuner.cluster import descriptors, ray_internals
from tuner.cluster.head import Head
from tuner.cluster.interruption import Interruption
from tuner.errors import Halted
from tuner.record import Record

#: The servers without which Ray ends the process that started them.
NEEDED = ("gcs_server", "raylet")
#: Seconds between two looks for agents that have not started yet; and for ends of servers, where
#: the system has no descriptors that notice them at once.
_LOOK_EVERY_S = 0.05
_ASK_HEAD_EVERY_S = 1.0
#: Seconds by which a raylet may seem to end after its agents, if they ended with it. If it ends for
#: one of them, that takes 30 ms.
_WITH_RAYLET_S = 0.005
#: Seconds in which the main thread leaves Ray after a loss, unless it is stuck there.
_PATIENCE_S = 6.0
_REMIND_EVERY_S = 0.1


@final
class Servers:
    """The servers of a Ray that was started here, from their start; the head of a joined one."""

    def __init__(self, interrupted: Interruption, give_up: Callable[[str], object]) -> None:
        """Watch nothing yet.

        Args:
            interrupted: Has the main thread leave Ray after a loss.
            give_up: Ends this process with a reason, if the main thread does not leave Ray, or not
                before Ray ends this process.
        """
        self._interrupted = interrupted
        self._give_up = give_up
        self._processes: dict[str, Popen[bytes]] = {}
        self._held: dict[str, int] = {}  # descriptors of those processes, and of the agents
        self._head: Head | None = None
        self._lock = threading.Lock()  # or a process might be seen to end that was just forgotten
        self._record: Record | None = None
        self._loss: str | None = None
        self._leaves_no_time = False
        self._is_left = threading.Event()

    def add(self, process: "Popen[bytes]") -> None:
        """Watch a process that Ray has started, if it is one of :data:`NEEDED`."""
        command: Any = process.args
        if (name := Path(command[0]).name) in NEEDED:
            descriptor = descriptors.hold(process.pid)
            with self._lock:
                self._processes[name] = process
                self._held |= {} if descriptor is None else {name: descriptor}

    def add_head(self, address: str) -> None:
        """Watch the head of a joined cluster, by the address of its control store."""
        self._head = Head(address)

    def forget(self) -> None:
        """Watch none of the processes any more, which are about to be ended."""
        with self._lock:
            descriptors.let_go(self._held.values())
            self._held, self._processes, self._head = {}, {}, None

    def halt_on_loss(self, record: Record) -> None:
        """Halt this search after a loss."""
        self._record = record

    def are_lost(self) -> bool:
        """Tell whether one of them has ended; if so, halt the search.

        What Ray says about trials is then not about them.
        """
        with self._lock:
            if self._loss is None:
                self._loss = self._find_loss()
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
            self.forget()

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

    def _find_loss(self) -> str | None:
        ended = descriptors.have_ended(self._held.values())
        agents = (name for name in ray_internals.AGENTS if self._held.get(name) in ended)
        if (agent := next(agents, None)) is not None:
            descriptors.send(self._held["raylet"], signal.SIGSTOP)
            if not descriptors.have_ended([self._held["raylet"]], _WITH_RAYLET_S):
                self._leaves_no_time = True
                return f"Ray's {agent} on this machine has ended"
        for name, process in self._processes.items():
            if (status := process.poll()) is not None:
                killed = f"was killed by {signal.Signals(-status).name}" if status < 0 else "ended"
                return f"Ray's {name} on this machine {killed}"
        return None

    def _set_loss(self, loss: str, head: Head) -> None:
        with self._lock:
            if self._head is head:  # else Ray was left meanwhile
                self._loss = loss

    def _find_agents(self) -> None:
        with self._lock:
            if "raylet" not in self._held or self._held.keys() >= ray_internals.AGENTS.keys():
                return
            for name, pid in ray_internals.agents(self._processes["raylet"].pid).items():
                if name not in self._held and (descriptor := descriptors.hold(pid)) is not None:
                    self._held[name] = descriptor

    def _breaks_off(self) -> bool:
        """Have the main thread leave Ray; tell whether it has done so in time."""
        self._interrupted.break_off()
        until_s = time.monotonic() + _PATIENCE_S
        while (rest_s := until_s - time.monotonic()) > 0:
            if self._is_left.wait(min(rest_s, _REMIND_EVERY_S)):
                return True
            self._interrupted.remind()
        return False

    def _watch(self) -> None:
        while not self._is_left.is_set():
            self._find_agents()
            if held := [*self._held.values()]:
                descriptors.have_ended(held, _LOOK_EVERY_S)
            else:
                self._is_left.wait(_LOOK_EVERY_S if self._head is None else _ASK_HEAD_EVERY_S)
            if (head := self._head) is not None and (loss := head.loss()) is not None:
                self._set_loss(loss, head)
            if self._is_left.is_set() or not self.are_lost():
                continue
            if not self._leaves_no_time and self._breaks_off():
                return
            self._give_up(str(self._loss))
            # In a program that the search is part of, which may not be ended here.
            with self._lock:
                if (raylet := self._held.get("raylet")) is not None:
                    descriptors.send(raylet, signal.SIGCONT)
            self._interrupted.break_off()
            return
