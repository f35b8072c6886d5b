"""A Ray that was started here and lost a server: the search halts, and no trial is to blame."""

import subprocess
import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.experiment import Trial

from tuner.cluster import servers
from tuner.cluster import trials as runner
from tuner.cluster.interruption import Interruption, interruptible
from tuner.cluster.servers import Servers


@pytest.fixture
def raylet() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        yield process
        process.kill()


@pytest.fixture
def record() -> Any:
    halts: list[str] = []
    return SimpleNamespace(halt=halts.append, halts=halts, halted=None)


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers.ray, "shutdown", lambda: None)


def test_a_wait_for_ray_is_left_once_a_server_is_killed(
    raylet: "subprocess.Popen[bytes]", record: Any
) -> None:
    with interruptible() as interrupted:
        watch = Servers({"raylet": raylet}, record, interrupted)
        with watch.watched():
            assert not watch.are_lost()
        with watch.watched():
            raylet.kill()
            time.sleep(60)
    assert set(record.halts) == {"Ray's raylet on this machine was killed by SIGKILL"}


def test_an_interruption_by_the_user_is_not_taken_for_that(
    raylet: "subprocess.Popen[bytes]", record: Any
) -> None:
    watch = Servers({"raylet": raylet}, record, Interruption())
    with pytest.raises(KeyboardInterrupt), watch.watched():
        raise KeyboardInterrupt
    assert record.halts == []


def test_a_trial_is_neither_failed_nor_restarted_where_it_is_ray_that_failed(
    raylet: "subprocess.Popen[bytes]", record: Any
) -> None:
    """The record has no method for either: the call would raise."""
    raylet.kill()
    raylet.wait()
    interrupted = Interruption()
    watch = Servers({"raylet": raylet}, record, interrupted)
    callback = runner._Callback(record, "", interrupted, watch)
    callback._reason = lambda trial: "its owner has died"  # type: ignore[method-assign]
    trial = Trial("train", stub=True, config={"number": 7})
    callback.on_trial_recover(0, [trial], trial)
    callback.on_trial_error(0, [trial], trial)
    assert set(record.halts) == {"Ray's raylet on this machine was killed by SIGKILL"}
