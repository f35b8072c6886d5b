"""A Ray cluster of several nodes on one machine, each with an address of its own on loopback."""

import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

#: Not of the environment that tests of one machine run in.
_ENVIRONMENT = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
}


class Cluster:
    """A head without CPUs, and nodes that come and go; every process is ours to kill."""

    def __init__(self, folder: Path) -> None:
        # All of 127/8 is this machine, but Ray takes 127.0.0.1 for its address on the network.
        self._network = f"127.{random.SystemRandom().randrange(1, 250)}"
        self._folder = folder
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = os.environ | _ENVIRONMENT | {"RAY_AUTH_TOKEN": secrets.token_hex(16)}
        head = f"{self._network}.0.1"
        for _ in range(5):
            self.address = f"{head}:{_free_port(head)}"
            self._start(
                head,
                ["--head", "--port", self.address.rpartition(":")[2], "--num-cpus", "0"],
                # A Unix socket's path may have 107 characters.
                ["--temp-dir", str(folder), "--include-dashboard", "false"],
                ["--ray-client-server-port", str(_free_port(head))],
            )
            if self._has_started(head):
                return
        raise RuntimeError(self._log(head).read_text())

    def add(
        self,
        *options: str,
        num_cpus: int = 1,
        environment: Mapping[str, str] | None = None,
        under: Sequence[str] = (),
    ) -> str:
        """Start a node, in an own environment or by another command; returns its address."""
        more = ["--address", self.address, "--num-cpus", str(num_cpus)]
        for _ in range(5):
            node = f"{self._network}.0.{len(self._nodes) + 1}"
            self._start(node, more, options, environment=environment or {}, under=under)
            if self._has_started(node):
                return node
        raise RuntimeError(self._log(node).read_text())

    def _start(
        self,
        node: str,
        *options: Sequence[str],
        environment: Mapping[str, str] | None = None,
        under: Sequence[str] = (),
    ) -> None:
        ray = [str(Path(sys.executable).parent / "ray"), "start", "--block"]
        # Nodes of one machine must not choose the same ports: some are of all its addresses.
        ray += ["--min-worker-port", "0", "--max-worker-port", "0"]
        ray += ["--dashboard-agent-listen-port", "0"]
        with self._log(node).open("wb") as log:
            self._nodes[node] = subprocess.Popen(
                [*under, *ray, "--node-ip-address", node, *(o for some in options for o in some)],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment | dict(environment or {}),
                start_new_session=True,
            )

    def _has_started(self, node: str) -> bool:
        """Wait until it says so; Ray gives up after 30 s, and a busy machine may take longer."""
        while "Ray runtime started" not in self._log(node).read_text():
            if self._nodes[node].poll() is not None:
                return False
            time.sleep(0.1)
        return True

    def _log(self, node: str) -> Path:
        return self._folder.with_name(f"{self._folder.name}-{node}.log")

    def kill(self, node: str) -> None:
        """End all processes of a node at once, as a power cut does."""
        process = self._nodes[node]
        for pid in [*_descendants(process.pid), process.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()

    def clear(self) -> None:
        """Have all nodes but the head leave in order, so that nobody waits for them."""
        others = [process for process in list(self._nodes.values())[1:] if process.poll() is None]
        for process in others:
            process.terminate()
        for process in others:
            process.wait()

    def close(self) -> None:
        """End every node."""
        for node in reversed(self._nodes):
            self.kill(node)


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """A cluster with its head; ``folder`` is short, and for Ray's own files."""
    started = Cluster(folder)
    try:
        yield started
    finally:
        started.close()


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def _descendants(pid: int) -> list[int]:
    """Processes that it started, theirs before them."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(c) for task in tasks for c in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [p for child in children for p in [*_descendants(child), child]]
