"""Check that the nodes of a cluster can run trials, and wait for one that can."""

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tuner.cluster.failures import last_raised
from tuner.errors import BadInput, Fault
from tuner.space import ResourceConfig

if TYPE_CHECKING:
    from trainables.data import Data

#: A node that does not answer for so long cannot be checked.
_PROBE_TIMEOUT_S = 120.0
#: After this long the cluster reports a node's death.
_DEATH_KNOWN_S = 40.0
#: Ray counts resources in units of a ten-thousandth.
_UNITS = 10_000
#: While a search waits for a node, nodes are checked so often.
_LOOK_AGAIN_S = 2.0


#: Data in the object store: one copy a machine.
SharedData = ray.ObjectRef


@dataclass(frozen=True)
class TrialResources:
    """Resources of one trial, by Ray's names."""

    cpus: float
    gpus: float
    others: Mapping[str, float]

    def fit(self, available: Mapping[str, float]) -> bool:
        """Tell whether a node with these resources could run a trial."""
        return all(available.get(name, 0) >= amount for name, amount in self._by_name().items())

    def num_slots(self, available: Mapping[str, float]) -> int:
        """Count the trials that such resources run at a time."""
        return min(_num_fit(name, available.get(name, 0), n) for name, n in self._by_name().items())

    def __str__(self) -> str:
        """List them for a person."""
        return ", ".join(f"{amount:g} {name}" for name, amount in self._by_name().items())

    def _by_name(self) -> dict[str, float]:
        named = {"CPU": self.cpus, "GPU": self.gpus, **self.others}
        return {name: amount for name, amount in named.items() if amount}


def _num_fit(name: str, available: float, amount: float) -> int:
    """Count how often an amount of a resource fits, in Ray's whole units, without rounding errors.

    Parts of a GPU are of one GPU each.
    """
    there, needed = (round(value * _UNITS) for value in (available, amount))
    if name == "GPU" and needed < _UNITS:
        return there // _UNITS * (_UNITS // needed) + there % _UNITS // needed
    return there // needed


def wait_for_resources(
    resources: ResourceConfig, say: Callable[[str], None], interrupted: Event | None = None
) -> TrialResources:
    """Wait for a node that has the resources of a trial; return these.

    Args:
        resources: The section ``resources`` of the search.
        say: Prints that the search waits for a node.
        interrupted: Ends the wait.

    Raises:
        BadInput: if no node has them after ``wait_for_nodes_s``: Ray would wait for ever.
        KeyboardInterrupt: if it was interrupted.
    """
    interrupted = interrupted or Event()
    until_s = time.monotonic() + resources.wait_for_nodes_s
    found, nodes = _needs_and_nodes(resources)
    if any(map(found.fit, nodes)):
        return found
    if resources.wait_for_nodes_s:
        say(f"waiting for a node with {found} for a trial ...")
        with _requested(found):
            while time.monotonic() < until_s:
                if interrupted.wait(_LOOK_AGAIN_S):
                    raise KeyboardInterrupt
                found, nodes = _needs_and_nodes(resources)
                if any(map(found.fit, nodes)):
                    return found
    have = "; ".join(f"{n.get('CPU', 0):g} CPU and {n.get('GPU', 0):g} GPU" for n in nodes)
    message = f"no node has {found} for a trial; the nodes have {have}"
    way_out = "request less per trial, or set wait_for_nodes_s if more nodes will join"
    raise BadInput("resources", [Fault("", f"{message}: {way_out}")])


def _needs_and_nodes(resources: ResourceConfig) -> tuple[TrialResources, list[Mapping[str, float]]]:
    """Return the resources of a trial, and those of each node."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return _needs(resources, any(node.get("GPU", 0) for node in nodes)), nodes


@contextmanager
def _requested(needs: TrialResources) -> Iterator[None]:
    """Request a node that a trial fits from the cluster's autoscaler, for the time of the block."""
    from ray.autoscaler.sdk import request_resources

    request_resources(bundles=[needs._by_name()])
    try:
        yield
    finally:
        request_resources(bundles=[])


def _needs(resources: ResourceConfig, has_gpus: bool) -> TrialResources:
    gpus = resources.gpus_per_trial
    others = dict(resources.custom)
    if resources.accelerator_type is not None:
        # Ray gives each node of the type 1 of it, to be requested in small parts.
        others[f"accelerator_type:{resources.accelerator_type}"] = 0.001
    return TrialResources(
        resources.cpus_per_trial, float(has_gpus) if gpus == "auto" else gpus, others
    )


def num_slots(needs: TrialResources) -> int:
    """Count the trials that fit the cluster at a time, as of now."""
    return needs.num_slots(ray.cluster_resources())


def share(data: "Data") -> SharedData:
    """Put the data into Ray's object store: one copy a machine, however many trials read it."""
    return ray.put(data)


def check_nodes(needs: TrialResources, location: str) -> None:
    """See that every node on which trials may run has what they need, before any of them starts.

    Args:
        needs: What a trial takes of a node.
        location: The folder, or URI, of checkpoints, which all of them must share.

    Raises:
        BadInput: with every node that lacks the packages, or sees another folder there.
    """
    here = ray.get_runtime_context().get_node_id()
    others = [
        node
        for node in ray.nodes()
        if node["Alive"] and node["NodeID"] != here and needs.fit(node["Resources"])
    ]
    if not others:
        return
    marker = secrets.token_hex(8)
    with _marked(location, f".probe-{marker}", marker):
        probes = {
            _probe.options(  # type: ignore[attr-defined]  # what the decorator adds
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ).remote(location, f".probe-{marker}", marker): node
            for node in others
        }
        found = {n["NodeManagerAddress"]: _answer(task, n["NodeID"]) for task, n in probes.items()}
    faults = [Fault(f"node {node}", text) for node, text in found.items() if text]
    if faults:
        raise BadInput("the cluster", faults)


@contextmanager
def _marked(location: str, name: str, marker: str) -> Iterator[None]:
    from tuner.storage import resolve_location

    file_system, folder = resolve_location(location)
    file_system.create_dir(folder, recursive=True)
    with file_system.open_output_stream(f"{folder}/{name}") as file:
        file.write(marker.encode())
    try:
        yield
    finally:
        file_system.delete_file(f"{folder}/{name}")


def _answer(task: ray.ObjectRef, node_id: str) -> str | None:
    try:
        return ray.get(task, timeout=_PROBE_TIMEOUT_S)
    except RayError as error:
        if _is_gone(node_id):
            return None
        reason = last_raised(str(error).splitlines())
        return f"cannot run a trial ({reason}): fix it, or remove it from the cluster"


def _is_gone(node_id: str) -> bool:
    """Tell whether a node has died: the cluster may take a while to notice."""
    until_s = time.monotonic() + _DEATH_KNOWN_S
    while time.monotonic() < until_s:
        if not any(node["Alive"] for node in ray.nodes() if node["NodeID"] == node_id):
            return True
        time.sleep(_LOOK_AGAIN_S)
    return False


@ray.remote(num_cpus=0, max_retries=0)
def _probe(location: str, name: str, marker: str) -> str | None:
    """Find, on a node, what it lacks."""
    import contextlib
    import importlib.util

    needed = ("torch", "torchvision", "pydantic", "jaxtyping", "matplotlib", "sklearn")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        message = f"lacks {', '.join(missing)}: install this project's dependencies there"
        return f"{message}, or name them in a --runtime-env file"
    from tuner.storage import resolve_location

    file_system, folder = resolve_location(location)
    with contextlib.suppress(OSError), file_system.open_input_stream(f"{folder}/{name}") as file:
        if file.read().decode() == marker:
            return None
    message = f"does not see the folder {location!r} of the search's checkpoints"
    return f"{message}: put --runs-dir or results.storage where all nodes reach it (NFS, s3://...)"
