"""Every change to Ray Tune's internals: those for which it has no setting.

Each is made only if the installed Ray has the internals that it needs. If a later Ray has moved
them, a search runs without the change.
"""

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import Popen, list2cmdline
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayActorError
from ray.tune.experiment import Trial

from tuner.cluster.failures import is_node_lost

#: Ray's agents on a node: the title of each process, and the end of its file's path.
AGENTS = {
    "DashboardAgent": (b"ray::DashboardAgent", b"dashboard/agent.py"),
    "RuntimeEnvAgent": (b"ray::RuntimeEnvAgent", b"runtime_env/agent/main.py"),
}


def adapt() -> list[str]:
    """Make the changes that trials rely on.

    Returns:
        For each that this Ray does not allow, a note of what follows from that.
    """
    changes = (_retry_after_out_of_memory, _spare_trials_of_lost_nodes, _disable_env_propagation)
    return [note for change in changes if (note := change()) is not None]


def forget(trial: Trial) -> None:
    """Free what Ray keeps of a trial that ended: 100 kB, mostly statistics that nothing reads.

    A Ray that keeps them elsewhere grows by so much more with each trial.
    """
    with suppress(AttributeError):
        trial.metric_analysis.clear()
        trial.metric_n_steps.clear()
        if trial.latest_checkpoint_result is not None:
            trial.latest_checkpoint_result.metrics.clear()  # a copy of the report


def silence_servers() -> None:
    """Keep Ray from printing its servers' logs, screens of them, where one of them is killed."""
    from ray._private import worker

    worker._worker_logs_enabled = False


@functools.cache
def _retry_after_out_of_memory() -> str | None:
    """Have Ray Tune restart a trial that Ray's memory monitor killed, as after any other death.

    Ray Tune 2.60 does not know the error, takes it for a fault of its own and ends the search.
    """
    try:
        from ray.air.execution._internal.actor_manager import RayActorManager

        RayActorManager._actor_task_failed = _as_crash(RayActorManager._actor_task_failed)
    except (ImportError, AttributeError):
        return _note(
            "a trial that its memory monitor kills may end the search: --resume resumes it"
        )
    return None


def _as_crash(task_failed: Callable[..., None]) -> Callable[..., None]:
    """Hand a crash of the trial's process to Ray Tune in place of an out-of-memory error."""

    def crash(argument: Any) -> Any:
        if not isinstance(argument, OutOfMemoryError):
            return argument
        message = " ".join(str(argument).split())
        return RayActorError(error_msg=f"OutOfMemoryError: {message}")

    @functools.wraps(task_failed)
    def with_out_of_memory(*args: Any, **kwargs: Any) -> None:
        task_failed(*map(crash, args), **{name: crash(value) for name, value in kwargs.items()})

    return with_out_of_memory


@functools.cache
def _spare_trials_of_lost_nodes() -> str | None:
    """Have Ray Tune not count the loss of a node among the failures of its trials.

    It counts all that no autoscaler has announced, and fails a trial that has no retries left.
    """
    plain = getattr(Trial, "handle_error", None)
    if plain is None or not hasattr(Trial, "num_failures"):
        return _note("the loss of a node counts as a failure of its trials")

    @functools.wraps(plain)
    def handle_error(trial: Trial, exc: Any = None) -> None:
        num_failures = trial.num_failures
        plain(trial, exc)
        if is_node_lost(str(exc)):
            with suppress(AttributeError):
                trial.run_metadata.num_failures = num_failures

    Trial.handle_error = handle_error  # type: ignore[method-assign]
    return None


def _disable_env_propagation() -> str | None:
    """Keep Ray Tune from handing some of the driver's variables to trials, and one of Lightning's.

    AWS keys are among them, which a log then shows. And the workers that Ray has started
    already have none of them: trials would wait for other workers to start and to import torch.
    """
    try:
        from ray.tune.execution.class_cache import DEFAULT_ENV_VARS, ENV_VARS_TO_PROPAGATE

        DEFAULT_ENV_VARS.clear()
        ENV_VARS_TO_PROPAGATE.clear()
    except (ImportError, AttributeError):
        return _note("trials may start more slowly, and its logs may show AWS keys")
    return None


def agents(raylet: int) -> dict[str, int]:
    """Find the agents that a raylet, given by its pid, has started; return their pids by name.

    The raylet ends if one of them does. None are found where the system does not list the children
    of a process, or a later Ray starts them otherwise.
    """
    found = {}
    for children in Path(f"/proc/{raylet}/task").glob("*/children"):
        with suppress(OSError):  # a process, or its thread, that has ended meanwhile
            for pid in map(int, children.read_text().split()):
                command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                names = (name for name, marks in AGENTS.items() if _is_one(command, marks))
                found.update(dict.fromkeys(names, pid))
    return found


def _is_one(command: list[bytes], marks: tuple[bytes, bytes]) -> bool:
    """Compare a command line with an agent's title, and with its file before it has the title."""
    title, file = marks
    return command[0].startswith(title) or any(part.endswith(file) for part in command[:3])


@contextmanager
def own_process_groups(started: Callable[["Popen[bytes]"], None]) -> Iterator[None]:
    """Have Ray start its processes in groups of their own, and end agents with the raylet.

    For a block.

    Args:
        started: Is called with each. If a later Ray starts them elsewhere, it is called with none,
            and the loss of one ends a search without a message of ours.

    A signal to the group of the search, as ``timeout``, Slurm and systemd send it, would end Ray
    first: the search could not stop in order. Where the kernel does not end Ray's processes with
    their parent, Ray needs them in its group to end them.

    Ray has the kernel end its servers with the driver, but not the agents, which the raylet starts:
    they first try to report its end to the control store, for a minute if that has ended, too.
    """
    from ray._private import services, utils

    try:
        plain, is_safe = services.ConsolePopen, utils.detect_fate_sharing_support()
    except AttributeError:
        yield
        return
    is_safe = is_safe and sys.platform == "linux"
    own_group = {"process_group": 0} if is_safe else {}

    def start(command: list[str], *args: Any, **kwargs: Any) -> "Popen[bytes]":
        command = _agents_ending_with_parent(command) if is_safe else command
        process = plain(command, *args, **kwargs, **own_group)
        started(process)
        return process

    services.ConsolePopen = start  # type: ignore[misc,assignment]
    try:
        yield
    finally:
        services.ConsolePopen = plain  # type: ignore[misc]


def _agents_ending_with_parent(command: list[str]) -> list[str]:
    """Change the agents' commands among a raylet's arguments; other commands stay as they are."""
    script = str(Path(__file__).with_name("end_with_parent.py"))
    prefix = list2cmdline([sys.executable, "-I", "-S", script])
    named = [part.partition("_agent_command=") for part in command]
    return [f"{name}{key}{prefix} {agent}" if key else name for name, key, agent in named]


@contextmanager
def kept_sigterm_handler() -> Iterator[None]:
    """Keep Ray from setting a handler of SIGTERM, for a block.

    Ray's raises SystemExit wherever the main thread is within its start, where that can be lost.
    """
    from ray._private import utils

    try:
        plain = utils.set_sigterm_handler
    except AttributeError:
        yield
        return
    utils.set_sigterm_handler = lambda sigterm_handler: None
    try:
        yield
    finally:
        utils.set_sigterm_handler = plain


def _note(consequence: str) -> str:
    return f"Ray {ray.__version__} has changed since it was tested here: {consequence}"
