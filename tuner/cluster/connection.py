"""Start a Ray on this machine, or join a cluster."""

import logging
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import ray

from tuner.cluster import ray_internals
from tuner.cluster.environment import (
    VARIABLES,
    private_token,
    set_defaults,
    short_temporary_folder,
)
from tuner.cluster.interruption import Interruption
from tuner.cluster.servers import Servers
from tuner.errors import BadInput, Fault, Halted
from tuner.process import silence

#: Modules that Ray's workers import before they get work. It is set in the environment, because an
#: option of Ray's configuration that a later Ray does not have would keep it from starting.
_PRELOAD = "RAY_preload_python_modules"
#: Milliseconds after which Ray ends an idle worker, where others have reserved the CPUs. They are
#: reserved for trials, which then find the workers that Ray started for them gone, and wait for new
#: ones to import torch: within Ray's second, unless the machine is very fast.
_IDLE = {"RAY_idle_worker_killing_time_threshold_ms": "3600000"}
#: Ray runs workers at niceness 15, so that whatever else a shared machine does starves the trials.
_NOT_NICE = {"RAY_worker_niceness": "0"}
_OPTIONS = {"log_to_driver": False, "logging_level": "ERROR"}
#: A cluster answers by then.
_ANSWERS_WITHIN_S = 5.0


@contextmanager
def connected(
    address: str | None,
    num_cpus: int,
    own_code: Sequence[Path] = (),
    runtime_env: Mapping[str, Any] | None = None,
    *,
    all_train: bool = False,
    servers: Servers | None = None,
) -> Iterator[str]:
    """Start a local Ray of ``num_cpus``, or join the one at ``address``; yields its dashboard.

    Args:
        address: Of a cluster; ``None`` for one on this machine, bound to loopback.
        num_cpus: CPUs of a cluster that is started here.
        own_code: Files and packages of the user's that a cluster's nodes need besides ours.
        runtime_env: What else its nodes need, as Ray's runtime environment has it.
        all_train: Whether each CPU of a cluster that is started here gets a trial. Ray starts a
            worker for each at once, which then imports torch before it gets a trial.
        servers: Watch those of a cluster that is started here, and the head of another.

    Raises:
        BadInput: if there is no cluster at the address, it refuses the connection, or this process
            is connected to a Ray already.
        Halted: if no Ray can be started here, or it loses a server.
    """
    # It prints at the end which trials failed, as our summary does.
    silence("ray.tune", logging.CRITICAL)
    set_defaults()  # an earlier search of this process may have removed them at its end
    if ray.is_initialized():
        message = "is connected to a Ray already: call ray.shutdown() first, or search with --local"
        raise BadInput("this process", [Fault("", message)])
    if servers is None:
        servers = Servers(Interruption(), lambda reason: None)
    with servers.watched():
        with ray_internals.kept_sigterm_handler():
            if address is None:
                ray_internals.silence_servers()
                context = _start(num_cpus, servers, all_train=all_train)
            else:
                context = _join(address, _runtime_env(own_code, runtime_env or {}))
                servers.add_head(ray.get_runtime_context().gcs_address)
        try:
            url = context.dashboard_url
            yield f"http://{url}" if url else "not running"
        finally:
            servers.leave()


def _start(num_cpus: int, servers: Servers, *, all_train: bool) -> Any:
    """Start a Ray on this machine, once more if the machine was too busy for it.

    Raises:
        Halted: if it does not start.
    """
    variables = {**short_temporary_folder(), **private_token(), **_NOT_NICE}
    if all_train:
        variables |= {_PRELOAD: "trainables.wgan", **_IDLE}
    options = {"address": "local", "num_cpus": num_cpus, "dashboard_host": "127.0.0.1"}
    with _environment(variables), ray_internals.own_process_groups(servers.add):
        try:
            try:
                return ray.init(**options, **_OPTIONS, include_dashboard=True)
            except Exception as error:  # Ray has no class of its own for this
                if "timed out" not in str(error) or servers.are_lost():
                    raise
                servers.forget()
                ray.shutdown()
                return ray.init(**options, **_OPTIONS, include_dashboard=True)
        except Exception as error:  # nor for anything else that keeps it from starting
            ray.shutdown()
            message = f"Ray does not start on this machine ({_reason(error)}): --local searches"
            raise Halted(f"{message} without Ray, --address on a cluster") from error


def _join(address: str, runtime_env: Mapping[str, Any]) -> Any:
    """Join a cluster.

    Raises:
        BadInput: if that fails.
    """
    _check_answers(address)
    try:
        return ray.init(address=address, runtime_env=dict(runtime_env), **_OPTIONS)
    except ConnectionError as error:
        if "Could not find any running Ray" in str(error):
            message = "auto finds no Ray cluster on this machine: start one (ray start --head), or"
            raise BadInput("--address", [Fault("", f"{message} leave it out")]) from error
        message = f"the Ray cluster at {address!r} refuses the connection ({_reason(error)}): if it"
        way_out = "requires a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN in the environment"
        raise BadInput("--address", [Fault("", f"{message} {way_out}")]) from error
    except Exception as error:  # such as RuntimeError for another version of Ray or of Python
        ray.shutdown()
        message = f"the Ray cluster at {address!r} cannot be joined ({_reason(error)}): its nodes"
        way_out = "need the versions of Python and Ray that this process has"
        raise BadInput("--address", [Fault("", f"{message} {way_out}")]) from error


def _reason(error: Exception) -> str:
    """Shorten an error of Ray's, which may have many lines, to one."""
    return " ".join(str(error).split())[:300] or type(error).__name__


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables that are not set, for a block."""
    added = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _runtime_env(own_code: Sequence[Path], given: Mapping[str, Any]) -> dict[str, Any]:
    """Add our packages and the user's modules to the runtime environment that the user gave."""
    ours = [Path(__file__).parents[1], Path(__file__).parents[2] / "trainables"]
    code = [str(path) for path in (*ours, *own_code)]
    return {
        **given,
        "py_modules": [*code, *given.get("py_modules", [])],
        "env_vars": {**VARIABLES, **given.get("env_vars", {})},
    }


def _check_answers(address: str) -> None:
    """Check that anything listens there: Ray itself would try for many minutes."""
    if address.startswith("ray://"):
        message = f"is Ray's client address, which cannot run a search, got {address!r}: start the "
        way_out = "search on one of the cluster's nodes, or by `ray job submit`"
        raise BadInput("--address", [Fault("", message + way_out)])
    host, _, port = address.rpartition(":")
    if not port.isdigit():  # "auto", say: Ray looks it up
        return
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWERS_WITHIN_S).close()
    except (OSError, OverflowError) as error:
        message = f"no Ray cluster answers at {address!r} ({error}): start one, or leave it out"
        raise BadInput("--address", [Fault("", message)]) from error
    if os.environ.get("RAY_USE_TLS", "0") != "0":
        return  # only Ray has the certificates
    with grpc.insecure_channel(f"{host}:{port}") as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=_ANSWERS_WITHIN_S)
        except grpc.FutureTimeoutError as error:
            message = f"what answers at {address!r} is not Ray's port, which is 6379 unless the"
            way_out = "cluster was started with another: give that one"
            raise BadInput("--address", [Fault("", f"{message} {way_out}")]) from error
