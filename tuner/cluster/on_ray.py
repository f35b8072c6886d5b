"""Run the trials of a search on Ray: on this machine, or on a cluster."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

from trainables.data import Data
from tuner.cluster.connection import connected
from tuner.cluster.final import run_final
from tuner.cluster.gauges import Gauges
from tuner.cluster.interruption import Interruption
from tuner.cluster.nodes import (
    SharedData,
    TrialResources,
    check_nodes,
    num_slots,
    share,
    wait_for_resources,
)
from tuner.cluster.servers import Servers
from tuner.record import Listener, Record
from tuner.space import ResourceConfig


@final
class RayExecutor:
    """Runs the trials of a search on the Ray that this process is connected to."""

    def __init__(
        self,
        resources: ResourceConfig,
        dashboard: str,
        grows: bool,
        say: Callable[[str], None],
        servers: Servers,
    ) -> None:
        """Expect a connection to Ray.

        Args:
            resources: The section ``resources`` of the search.
            dashboard: The address of Ray's dashboard.
            grows: Whether nodes may still join.
            say: Prints what the search waits for.
            servers: The servers of a Ray that was started here.
        """
        self.addresses = {"dashboard": dashboard}
        self._resources = resources
        self._grows = grows
        self._say = say
        self._servers = servers
        self._needs: TrialResources | None = None
        self._shared: SharedData | None = None

    def prepare(self, location: str, interrupted: Interruption) -> None:
        """Wait for a node that a trial fits, and check that all nodes see the checkpoints."""
        self._needs = wait_for_resources(self._resources, self._say, interrupted)
        check_nodes(self._needs, location)

    def listeners(self, record: Record) -> list[Listener]:
        """Return Ray's metrics."""
        self._servers.halt_on_loss(record)
        return [Gauges(record)]

    def load(self, data: Data) -> None:
        """Put the data into Ray's object store, the one copy on this machine."""
        with self._servers.halting():
            self._shared = share(data)

    def run_trials(self, record: Record, location: str, interrupted: Interruption) -> None:
        """Run as many trials at a time as fit the cluster."""
        from tuner.cluster import trials  # and Ray Tune: seconds

        with self._servers.halting():
            if self._servers.are_lost():
                return
            trials.run_trials(
                record, self._data, location, self._trial, interrupted, self._slots, self._servers
            )

    def run_final(self, record: Record, interrupted: Interruption) -> None:
        """Score the finalists again, as many at a time as trials run."""
        with self._servers.halting():
            if self._servers.are_lost():
                return
            run_final(record, self._data, self._trial, interrupted, self._slots, self._servers)

    def leave(self) -> None:
        """Leave a Ray that was started here, or is lost.

        Else a cluster gets the metrics of the end, too.
        """
        if not self._grows or self._servers.are_lost():
            self._servers.leave()

    @property
    def _slots(self) -> int | None:
        """Trials that fit at a time a cluster that does not grow."""
        return None if self._grows else num_slots(self._trial)

    @property
    def _trial(self) -> TrialResources:
        if self._needs is None:
            raise RuntimeError("call prepare first")
        return self._needs

    @property
    def _data(self) -> SharedData:
        if self._shared is None:
            raise RuntimeError("call load first")
        return self._shared


@contextmanager
def ray_executor(
    resources: ResourceConfig,
    address: str | None,
    num_cpus: int,
    own_code: Sequence[Path],
    runtime_env: Mapping[str, Any] | None,
    say: Callable[[str], None],
    servers: Servers,
    *,
    all_train: bool,
) -> Iterator[RayExecutor]:
    """Connect to Ray, as :func:`tuner.cluster.connection.connected` does, and run trials there."""
    connection = connected(
        address, num_cpus, own_code, runtime_env, all_train=all_train, servers=servers
    )
    with connection as dashboard:
        yield RayExecutor(resources, dashboard, address is not None, say, servers)
