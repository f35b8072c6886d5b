"""See to it that the nodes of a cluster can run trials."""

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

#: A node that does not answer for so long cannot be asked whether it is fit for trials.
_PROBE_TIMEOUT_S = 120.0
#: By then the cluster knows of a node's death.
_DEATH_KNOWN_S = 40.0
#: Nodes are looked at so often while one that fits is waited for.
_LOOK_AGAIN_S = 2.0


#: Data in the object store: one copy a machine.
SharedData = ray.ObjectRef


@dataclass(frozen=True)
class TrialResources:
    """What a trial takes of a node, by Ray's names."""

    cpus: float
    gpus: float
    others: Mapping[str, float]

    def fit(self, there: Mapping[str, float]) -> bool:
        """Whether a node of these resources could run a trial."""
        return all(there.get(name, 0) >= amount for name, amount in self._by_name().items())

    def num_slots(self, there: Mapping[str, float]) -> int:
        """Trials that such resources run at a time."""
        return min(int(there.get(name, 0) / n) for name, n in self._by_name().items())

    def __str__(self) -> str:
        """As a person would say it."""
        return ", ".join(f"{amount:g} {name}" for name, amount in self._by_name().items())

    def _by_name(self) -> dict[str, float]:
        named = {"CPU": self.cpus, "GPU": self.gpus, **self.others}
        return {name: amount for name, amount in named.items() if amount}


def wait_for_resources(
    resources: ResourceConfig, say: Callable[[str], None], interrupted: Event | None = None
) -> TrialResources:
    """What a trial takes, once a node is there that has it.

    Args:
        resources: What the search asks for.
        say: Told that a node is being waited for.
        interrupted: Ends the waiting.

    Raises:
        BadInput: where no node has it, ``wait_for_nodes_s`` later: Ray would wait for ever.
        KeyboardInterrupt: where it was interrupted.
    """
    interrupted = interrupted or Event()
    until_s = time.monotonic() + resources.wait_for_nodes_s
    found, nodes = _as_of_now(resources)
    if any(map(found.fit, nodes)):
        return found
    if resources.wait_for_nodes_s:
        say(f"waiting for a node with {found} for a trial ...")
        with _asked_for(found):
            while time.monotonic() < until_s:
                if interrupted.wait(_LOOK_AGAIN_S):
                    raise KeyboardInterrupt
                found, nodes = _as_of_now(resources)
                if any(map(found.fit, nodes)):
                    return found
    have = "; ".join(f"{n.get('CPU', 0):g} CPU and {n.get('GPU', 0):g} GPU" for n in nodes)
    what = f"no node has {found} for a trial; the nodes have {have}"
    way_out = "ask for less per trial, or give wait_for_nodes_s where nodes are still to come"
    raise BadInput("resources", [Fault("", f"{what}: {way_out}")])


def _as_of_now(resources: ResourceConfig) -> tuple[TrialResources, list[Mapping[str, float]]]:
    """What a trial takes, and what each node has."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return _needs(resources, any(node.get("GPU", 0) for node in nodes)), nodes


@contextmanager
def _asked_for(needs: TrialResources) -> Iterator[None]:
    """Ask the cluster to grow by a node that a trial fits: it would keep one for as long."""
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
        # Ray gives each node of the type 1 of it, to be asked for in small parts.
        others[f"accelerator_type:{resources.accelerator_type}"] = 0.001
    return TrialResources(
        resources.cpus_per_trial, float(has_gpus) if gpus == "auto" else gpus, others
    )


def num_slots(needs: TrialResources) -> int:
    """Trials that fit the cluster at a time, as it now is."""
    return needs.num_slots(ray.cluster_resources())


def share(data: "Data") -> SharedData:
    """Put the data into Ray's object store: one copy a machine, whoever looks at it."""
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
        asked = {
            _probe.options(  # type: ignore[attr-defined]  # what the decorator adds
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ).remote(location, f".probe-{marker}", marker): node
            for node in others
        }
        found = {n["NodeManagerAddress"]: _answer(task, n["NodeID"]) for task, n in asked.items()}
    faults = [Fault(f"node {node}", what) for node, what in found.items() if what]
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
        said = last_raised(str(error).splitlines())
        return f"cannot run a trial ({said}): mend it, or take it out of the cluster"


def _is_gone(node_id: str) -> bool:
    """Whether a node has died: the cluster may take a while to know."""
    until_s = time.monotonic() + _DEATH_KNOWN_S
    while time.monotonic() < until_s:
        if not any(node["Alive"] for node in ray.nodes() if node["NodeID"] == node_id):
            return True
        time.sleep(_LOOK_AGAIN_S)
    return False


@ray.remote(num_cpus=0, max_retries=0)
def _probe(location: str, name: str, marker: str) -> str | None:
    """Run on a node: what it lacks."""
    import contextlib
    import importlib.util

    needed = ("torch", "torchvision", "pydantic", "jaxtyping", "matplotlib", "sklearn")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        what = f"lacks {', '.join(missing)}: install this project's dependencies there"
        return f"{what}, or name them in a --runtime-env file"
    from tuner.storage import resolve_location

    file_system, folder = resolve_location(location)
    with contextlib.suppress(OSError), file_system.open_input_stream(f"{folder}/{name}") as file:
        if file.read().decode() == marker:
            return None
    what = f"does not see the folder {location!r} of the search's checkpoints"
    return f"{what}: put --runs-dir or results.storage where all nodes reach it (NFS, s3://...)"
