"""Descriptors of processes: an end is noticed at once, also of processes that are not children."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tuner.cluster import descriptors

pytestmark = pytest.mark.skipif(
    descriptors.hold(os.getpid()) is None, reason="this system has no descriptors of processes"
)


def test_an_end_is_noticed_at_once_and_of_that_process_alone() -> None:
    sleeps = [sys.executable, "-ISc", "import time; time.sleep(600)"]
    with subprocess.Popen(sleeps) as killed, subprocess.Popen(sleeps) as living:
        held = [descriptors.hold(killed.pid), descriptors.hold(living.pid)]
        both = [descriptor for descriptor in held if descriptor is not None]
        assert descriptors.have_ended(both) == set()
        killed.kill()
        began_s = time.monotonic()
        assert descriptors.have_ended(both, timeout_s=60) == {held[0]}
        assert time.monotonic() - began_s < 30
        living.kill()
    descriptors.let_go(both)


def test_a_grandchild_is_noticed_too() -> None:
    starts = "import subprocess, sys; p = subprocess.Popen([sys.executable, '-ISc', 'import time; "
    starts += "time.sleep(600)']); print(p.pid, flush=True); p.wait()"
    with subprocess.Popen([sys.executable, "-ISc", starts], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        descriptor = descriptors.hold(pid)
        assert descriptor is not None
        os.kill(pid, signal.SIGKILL)
        assert descriptors.have_ended([descriptor], timeout_s=60) == {descriptor}
    descriptors.let_go([descriptor])


def test_a_process_that_is_gone_cannot_be_held() -> None:
    with subprocess.Popen([sys.executable, "-ISc", ""]) as ended:
        pass
    assert descriptors.hold(ended.pid) is None


def test_without_any_process_the_time_passes() -> None:
    began_s = time.monotonic()
    assert descriptors.have_ended([], timeout_s=0.05) == set()
    assert time.monotonic() - began_s >= 0.05
