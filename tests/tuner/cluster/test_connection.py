"""How a process gets a Ray, and what it says where it gets none."""

import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray._private import services, utils

from tuner.cluster import connection
from tuner.cluster.connection import connected
from tuner.cluster.environment import private_token, short_temporary_folder
from tuner.cluster.ray_internals import kept_sigterm_handler, own_process_groups
from tuner.errors import BadInput, Halted


class FakeRay:
    """Ray's start, with an accident at each call in turn."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *errors: Exception | None) -> None:
        self.errors = list(errors)
        self.environments: list[dict[str, str]] = []
        self.is_connected = False
        monkeypatch.setattr(ray, "init", self.init)
        monkeypatch.setattr(ray, "shutdown", lambda: None)
        monkeypatch.setattr(ray, "is_initialized", lambda: self.is_connected)

    def init(self, **_: Any) -> Any:
        self.environments.append(dict(os.environ))
        if error := self.errors.pop(0):
            raise error
        return SimpleNamespace(dashboard_url="127.0.0.1:8265")


def test_an_address_where_nothing_listens_is_refused_at_once() -> None:
    with (
        pytest.raises(BadInput, match=r"no Ray cluster answers at '127\.0\.0\.1:9' .*leave it out"),
        connected("127.0.0.1:9", num_cpus=1),
    ):
        pass


def test_a_client_address_is_refused_since_a_search_must_run_on_a_node() -> None:
    with (
        pytest.raises(BadInput, match=r"got 'ray://there:10001': start the search on one of"),
        connected("ray://there:10001", num_cpus=1),
    ):
        pass


def test_a_port_of_another_server_is_refused_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray itself would try it for minutes."""
    monkeypatch.setattr(connection, "_ANSWERS_WITHIN_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with (
            pytest.raises(BadInput, match=rf"answers at '{address}' is not Ray's port, .* 6379"),
            connected(address, num_cpus=1),
        ):
            pass


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ConnectionError("bad token\nsay"), r"refuses the connection \(bad token say\): .*TOKEN"),
        (RuntimeError("mismatch:\n  Ray 2.60"), r"cannot be joined \(mismatch: Ray 2.60\): its"),
    ],
)
def test_a_cluster_that_cannot_be_joined_is_one_line(
    monkeypatch: pytest.MonkeyPatch, error: Exception, text: str
) -> None:
    FakeRay(monkeypatch, error)
    with pytest.raises(BadInput, match=text) as raised, connected("auto", num_cpus=1):
        pass
    (fault,) = raised.value.faults
    assert "\n" not in str(fault)


def test_auto_without_a_cluster_on_this_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeRay(monkeypatch, ConnectionError("Could not find any running Ray instance."))
    with (
        pytest.raises(BadInput, match=r"auto finds no Ray cluster on this machine: start one"),
        connected("auto", num_cpus=1),
    ):
        pass


def test_a_busy_machine_gets_a_second_start_and_any_other_error_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow, full = RuntimeError("the node timed out during startup"), OSError("cannot\nfork")
    started = FakeRay(monkeypatch, slow, None)
    with connected(None, num_cpus=1) as dashboard:
        assert dashboard == "http://127.0.0.1:8265"
    assert len(started.environments) == 2
    for errors in ((full,), (slow, slow)):
        started = FakeRay(monkeypatch, *errors)
        with (
            pytest.raises(Halted, match=r"^Ray does not start on this machine \(.*\): --local"),
            connected(None, num_cpus=1),
        ):
            pass
        assert started.errors == []


def test_what_a_start_needs_in_the_environment_is_gone_after_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", "/proc/nowhere")
    for name in ("RAY_AUTH_TOKEN", "RAY_worker_niceness"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("long" * 20)))
    before, started = dict(os.environ), FakeRay(monkeypatch, None)
    with connected(None, num_cpus=1, all_train=True):
        assert dict(os.environ) == before
    (environment,) = started.environments
    added = {name: environment[name] for name in environment.keys() - before.keys()}
    assert added.keys() == {
        "RAY_AUTH_TOKEN",
        "RAY_TMPDIR",
        "RAY_idle_worker_killing_time_threshold_ms",
        "RAY_preload_python_modules",
        "RAY_worker_niceness",
    }
    assert added["RAY_worker_niceness"] == "0"
    assert len(added["RAY_AUTH_TOKEN"]) == 64
    assert added["RAY_TMPDIR"] == "/tmp"


@pytest.mark.parametrize("raylet", [None, "7"])
def test_a_search_whose_parent_is_init_is_no_worker_that_lost_its_raylet(
    raylet: str | None,
) -> None:
    """Ray ends such a process at once. A worker has the pid of its raylet, and keeps it."""
    environment = {name: text for name, text in os.environ.items() if name != "RAY_RAYLET_PID"}
    environment |= {} if raylet is None else {"RAY_RAYLET_PID": raylet}
    shows = "import os, tuner.cluster; print(os.getpid(), os.environ['RAY_RAYLET_PID'])"
    command = [sys.executable, "-c", shows]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    own, given = shown.stdout.split()
    assert given == (raylet or own)


def test_trials_are_as_nice_as_the_user_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_worker_niceness", "7")
    started = FakeRay(monkeypatch, None)
    with connected(None, num_cpus=1):
        pass
    assert started.environments[0]["RAY_worker_niceness"] == "7"


def test_a_process_that_is_connected_already_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeRay(monkeypatch).is_connected = True
    with (
        pytest.raises(BadInput, match=r"this process: .*\n  is connected to a Ray already: call"),
        connected(None, num_cpus=1),
    ):
        pass


@pytest.mark.parametrize("mode", [None, 0o600, 0o644, 0o666])
def test_the_token_of_rays_servers_is_for_its_owner_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mode: int | None
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    path = tmp_path / ".ray" / "auth_token"
    if mode is not None:
        path.parent.mkdir()
        path.write_text("kept")
        path.chmod(mode)
    assert private_token() == {}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    token = path.read_text()
    assert token == "kept" if mode is not None else len(token) == 64


def test_a_token_of_the_users_own_is_left_to_ray(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_TOKEN", "own")
    assert private_token() == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("length", [4, 40, 41, 90])
def test_rays_folder_is_elsewhere_only_where_its_sockets_would_have_too_long_a_path(
    monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/" + "t" * (length - 1))
    assert short_temporary_folder() == ({} if length <= 40 else {"RAY_TMPDIR": "/tmp"})


def test_rays_start_leaves_the_handler_of_sigterm_alone() -> None:
    before, plain = signal.getsignal(signal.SIGTERM), utils.set_sigterm_handler
    with kept_sigterm_handler():
        utils.set_sigterm_handler(lambda number, frame: None)
        assert signal.getsignal(signal.SIGTERM) == before
    assert utils.set_sigterm_handler is plain


@contextmanager
def _process() -> Iterator[subprocess.Popen[bytes]]:
    process = services.ConsolePopen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        yield process
    finally:
        process.communicate(b"\n")


@pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere Ray needs its processes in the group"
)
def test_ray_starts_in_a_process_group_of_its_own() -> None:
    started: list[subprocess.Popen[bytes]] = []
    with own_process_groups(started.append), _process() as process:
        assert os.getpgid(process.pid) == process.pid
        assert started == [process]
    with _process() as process:
        assert os.getpgid(process.pid) == os.getpgrp()
