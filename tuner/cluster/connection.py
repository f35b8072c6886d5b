"""Start a Ray on this machine, or join a cluster."""

import logging
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray

from tuner.cluster.environment import VARIABLES
from tuner.errors import BadInput, Fault

#: Modules that Ray's workers import before they get work. It is set in the environment, because an
#: option of Ray's configuration that a later Ray does not have would keep it from starting.
_PRELOAD = "RAY_preload_python_modules"


@contextmanager
def connected(
    address: str | None,
    num_cpus: int,
    own_code: Sequence[Path] = (),
    runtime_env: Mapping[str, Any] | None = None,
    *,
    all_train: bool = False,
) -> Iterator[str]:
    """Start a local Ray of ``num_cpus``, or join the one at ``address``; yields its dashboard.

    Args:
        address: Of a cluster; ``None`` for one on this machine, bound to loopback.
        num_cpus: CPUs of a cluster that is started here.
        own_code: Files and packages of the user's that a cluster's nodes need besides ours.
        runtime_env: What else its nodes need, as Ray's runtime environment has it.
        all_train: Whether each CPU of a cluster that is started here gets a trial. Ray starts a
            worker for each at once, which then imports torch before it gets a trial.

    Raises:
        BadInput: if there is no cluster at the address, or it refuses the connection.
    """
    # It prints at the end which trials failed, as our summary does.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        options |= {"address": "local", "num_cpus": num_cpus, "dashboard_host": "127.0.0.1"}
        options |= {"include_dashboard": True}
        if all_train:
            os.environ[_PRELOAD] = "trainables.wgan"
    else:
        _check_answers(address)
        options |= {"address": address, "runtime_env": _runtime_env(own_code, runtime_env or {})}
    try:
        context = ray.init(**options)
    except ConnectionError as error:
        reason = " ".join(str(error).split())[:200]
        message = f"the Ray cluster at {address!r} refuses the connection ({reason}): if it "
        way_out = "requires a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN in the environment"
        raise BadInput("--address", [Fault("", message + way_out)]) from error
    finally:
        os.environ.pop(_PRELOAD, None)
    try:
        url = context.dashboard_url
        yield f"http://{url}" if url else "not running"
    finally:
        ray.shutdown()


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
        socket.create_connection((host, int(port)), timeout=2).close()
    except OSError as error:
        message = f"no Ray cluster answers at {address!r} ({error}): start one, or leave it out"
        raise BadInput("--address", [Fault("", message)]) from error
