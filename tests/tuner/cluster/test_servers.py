"""A Ray that was started here and lost a server: the search halts, and no trial is to blame."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.experiment import Trial

from trainables.config import ObjectiveConfig
from tuner.cluster import descriptors
from tuner.cluster import servers as module
from tuner.cluster import trials as runner
from tuner.cluster.asha import Asha
from tuner.cluster.interruption import Interruption, interruptible
from tuner.cluster.scheduler import AshaScheduler
from tuner.cluster.servers import Servers
from tuner.errors import Halted
from tuner.space import AshaConfig

LOSS = "Ray's raylet on this machine was killed by SIGKILL"


@pytest.fixture
def raylet() -> Iterator["subprocess.Popen[bytes]"]:
    """A process of that name."""
    sleeps = ["raylet", "-c", "import time; time.sleep(600)"]
    with subprocess.Popen(sleeps, executable=sys.executable) as process:
        yield process
        process.kill()


#: A raylet with both agents, each under the title that Ray gives it; it prints their pids.
_WITH_AGENTS = """
import subprocess, sys, time
for title in ("ray::DashboardAgent", "ray::RuntimeEnvAgent"):
    command = [title, "-ISc", "import time; time.sleep(600)"]
    print(subprocess.Popen(command, executable=sys.argv[1], {preexec}).pid, flush=True)
time.sleep(600)
"""
_PREEXEC = "preexec_fn=lambda: __import__('ctypes').CDLL(None).prctl(1, 9)"


@contextmanager
def raylet_with_agents(
    preexec: str = "",
) -> Iterator[tuple["subprocess.Popen[bytes]", list[int]]]:
    command = ["raylet", "-ISc", _WITH_AGENTS.format(preexec=preexec), sys.executable]
    with subprocess.Popen(command, executable=sys.executable, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        agents = [int(process.stdout.readline()) for _ in range(2)]
        yield process, agents
        process.kill()
        for agent in agents:
            with suppress(ProcessLookupError):
                os.kill(agent, signal.SIGKILL)


def state_of(process: "subprocess.Popen[bytes]") -> str:
    """R or S: it runs or sleeps; T: it is stopped."""
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]


needs_descriptors = pytest.mark.skipif(
    descriptors.hold(os.getpid()) is None, reason="this system has no descriptors of processes"
)


@pytest.fixture
def record() -> Any:
    halts: list[str] = []
    return SimpleNamespace(halt=halts.append, halts=halts, halted=None)


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.ray, "shutdown", lambda: None)


def watching(
    process: "subprocess.Popen[bytes]", interrupted: Interruption, gave_up: list[str] | None = None
) -> Servers:
    watch = Servers(interrupted, [].append if gave_up is None else gave_up.append)
    watch.add(process)
    return watch


def test_a_wait_for_ray_is_left_once_a_server_is_killed(
    raylet: "subprocess.Popen[bytes]", record: Any
) -> None:
    with interruptible() as interrupted:
        servers = watching(raylet, interrupted)
        servers.halt_on_loss(record)
        with servers.watched():
            assert not servers.are_lost()
            with servers.halting():
                raylet.kill()
                time.sleep(60)
            servers.leave()
    assert set(record.halts) == {LOSS}


def test_a_wait_that_has_not_quite_begun_when_the_signal_comes_is_left_too(
    raylet: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signal then ends no system call; here it is not even sent, the first time."""
    kills: list[tuple[int, int]] = []
    kill = signal.pthread_kill

    def lose_the_first(thread: int, number: int) -> None:
        kills.append((thread, number))
        if len(kills) > 1:
            kill(thread, number)

    monkeypatch.setattr(signal, "pthread_kill", lose_the_first)
    gave_up: list[str] = []
    with interruptible() as interrupted:
        servers = watching(raylet, interrupted, gave_up)
        with servers.watched():
            with servers.halting():
                raylet.kill()
                time.sleep(60)
            servers.leave()
    assert gave_up == []
    assert len(kills) == 2, "it is not repeated once the wait is left"


def test_a_loss_before_a_search_has_begun_is_an_error(raylet: "subprocess.Popen[bytes]") -> None:
    @contextmanager
    def start() -> Iterator[None]:
        with interruptible() as interrupted, watching(raylet, interrupted).watched():
            raylet.kill()
            time.sleep(60)
            yield

    with pytest.raises(Halted, match=LOSS), start():
        pass


def test_a_process_that_is_stuck_within_ray_is_given_up(
    raylet: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a wait in C++ that no exception ends: the main thread has no turn to handle a signal."""
    monkeypatch.setattr(module, "_PATIENCE_S", 0.05)
    gave_up: list[str] = []
    stuck = threading.Event()
    interrupted = Interruption()
    monkeypatch.setattr(interrupted, "break_off", stuck.set)
    servers = watching(raylet, interrupted, gave_up)
    with servers.watched():
        raylet.kill()
        assert stuck.wait(10)
        until_s = time.monotonic() + 10
        while not gave_up and time.monotonic() < until_s:
            time.sleep(0.01)
    assert gave_up == [LOSS]


@needs_descriptors
@pytest.mark.parametrize(
    ("number", "loss"),
    [
        (0, "Ray's DashboardAgent on this machine has ended"),
        (1, "Ray's RuntimeEnvAgent on this machine has ended"),
    ],
)
def test_the_loss_of_an_agent_gives_up_before_ray_ends_the_process(
    monkeypatch: pytest.MonkeyPatch, number: int, loss: str
) -> None:
    """Which it does after 30 ms, once the raylet has ended, too: that is stopped meanwhile."""
    interrupted, gave_up = Interruption(), []
    ended = threading.Event()

    def give_up(reason: str) -> None:
        gave_up.append((reason, time.monotonic(), state_of(raylet)))
        ended.set()

    with raylet_with_agents() as (raylet, agents):
        servers = Servers(interrupted, give_up)
        servers.add(raylet)
        with servers.watched():
            until_s = time.monotonic() + 10
            while len(servers._held) < 3 and time.monotonic() < until_s:
                time.sleep(0.01)
            monkeypatch.setattr(module, "_LOOK_EVERY_S", 60.0)  # its next look is the last such one
            time.sleep(0.25)
            os.kill(agents[number], signal.SIGKILL)
            killed_s = time.monotonic()
            assert ended.wait(10)
            assert servers.are_lost()
            until_s = time.monotonic() + 10
            while state_of(raylet) == "T" and time.monotonic() < until_s:
                time.sleep(0.01)
            assert state_of(raylet) != "T"  # where the process is not given up
    ((reason, gave_up_s, state),) = gave_up
    assert (reason, state) == (loss, "T")
    assert gave_up_s - killed_s < 5  # a descriptor wakes the watch, not the time


@needs_descriptors
def test_a_raylet_that_ends_with_its_agents_is_the_loss(record: Any) -> None:
    with raylet_with_agents(_PREEXEC) as (raylet, _), interruptible() as interrupted:
        gave_up: list[str] = []
        servers = watching(raylet, interrupted, gave_up)
        servers.halt_on_loss(record)
        with servers.watched():
            while len(servers._held) < 3:
                time.sleep(0.01)
            with servers.halting():
                raylet.kill()
                time.sleep(60)
            servers.leave()
    assert set(record.halts) == {LOSS}
    assert gave_up == []


def test_the_loss_of_a_clusters_head_halts_the_search(
    record: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ASK_HEAD_EVERY_S", 0.01)
    monkeypatch.setattr(module.Head, "loss", lambda head: "no answer")
    with interruptible() as interrupted:
        servers = Servers(interrupted, [].append)
        servers.halt_on_loss(record)
        with servers.watched():
            with servers.halting():
                servers.add_head("127.0.0.1:6379")
                time.sleep(60)
            servers.leave()
    assert set(record.halts) == {"no answer"}


def test_a_head_that_was_left_is_watched_no_more(
    record: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ASK_HEAD_EVERY_S", 0.01)
    servers = Servers(Interruption(), [].append)
    servers.halt_on_loss(record)
    with servers.watched():
        servers.add_head("127.0.0.1:9")
        # As if it was left while an answer was waited for.
        monkeypatch.setattr(module.Head, "loss", lambda head: servers.forget() or "no answer")
        time.sleep(0.05)
        assert not servers.are_lost()
    assert record.halts == []


def test_a_system_without_descriptors_of_processes_is_polled(
    raylet: "subprocess.Popen[bytes]", record: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As macOS and WSL 1."""
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    with interruptible() as interrupted:
        servers = watching(raylet, interrupted)
        servers.halt_on_loss(record)
        with servers.watched():
            with servers.halting():
                raylet.kill()
                time.sleep(60)
            servers.leave()
    assert set(record.halts) == {LOSS}


def test_a_loss_after_ray_was_left_is_none(
    raylet: "subprocess.Popen[bytes]", record: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The results are written then, which nothing may break off."""
    monkeypatch.setattr(module, "_LOOK_EVERY_S", 0.001)
    with interruptible() as interrupted:
        servers = watching(raylet, interrupted)
        servers.halt_on_loss(record)
        with servers.watched():
            servers.leave()
            raylet.kill()
            raylet.wait()
            interrupted.break_off()
            assert not servers.are_lost()
    assert record.halts == []


def test_an_interruption_by_the_user_is_not_taken_for_that(
    raylet: "subprocess.Popen[bytes]", record: Any
) -> None:
    servers = watching(raylet, Interruption())
    servers.halt_on_loss(record)
    with pytest.raises(KeyboardInterrupt), servers.watched(), servers.halting():
        raise KeyboardInterrupt
    assert record.halts == []


def test_only_the_servers_that_ray_needs_are_watched() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as monitor:
        servers = watching(monitor, Interruption())
    assert not servers.are_lost()


def test_a_trial_is_neither_failed_nor_restarted_where_it_is_ray_that_failed(
    raylet: "subprocess.Popen[bytes]", record: Any
) -> None:
    """The record has no method for either: the call would raise."""
    raylet.kill()
    raylet.wait()
    interrupted = Interruption()
    servers = watching(raylet, interrupted)
    servers.halt_on_loss(record)
    rungs = AshaConfig(grace_generator_steps=10, max_generator_steps=40)
    scheduler = AshaScheduler(Asha(rungs, seed=0), ObjectiveConfig())
    callback = runner._Callback(record, scheduler, "", interrupted, servers)
    callback._reason = lambda trial: "its owner has died"  # type: ignore[method-assign]
    trial = Trial("train", stub=True, config={"number": 7})
    callback.on_trial_recover(0, [trial], trial)
    callback.on_trial_error(0, [trial], trial)
    assert set(record.halts) == {LOSS}
