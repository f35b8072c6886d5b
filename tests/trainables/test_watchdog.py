"""What stands still is ended, whatever it holds; what waits for others or goes on is not."""

import subprocess
import sys

import pytest

PREAMBLE = """
import ctypes, re, sys, threading, time
from trainables.watchdog import Watchdog
"""


def _run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PREAMBLE + script], capture_output=True, text=True, timeout=100
    )


@pytest.mark.parametrize(
    "hangs",
    [
        "time.sleep(1000)",
        "ctypes.PyDLL(None).sleep(1000)",  # keeps the interpreter's lock
        "re.match('(a+)+b', 'a' * 60)",  # never looks at a signal or another thread
        "lock = threading.Lock(); lock.acquire(); lock.acquire()",
        "sys.stderr = object(); time.sleep(1000)",
    ],
)
def test_what_hangs_is_ended_and_where_it_stood_is_in_the_log(hangs: str):
    ended = _run(f"""
def stands_still():
    {hangs}
with Watchdog(0.3):
    stands_still()
print("came back")
""")
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.startswith("Timeout (0:00:00.300000)!")
    assert "in stands_still" in ended.stderr


def test_the_clock_starts_anew_whenever_something_was_heard():
    ended = _run("""
with Watchdog(0.5) as watchdog:
    for _ in range(8):
        time.sleep(0.1)
        watchdog.heard()
    print("went on")
""")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "went on\n", "")


def test_waiting_for_others_is_no_hang_and_the_clock_runs_again_after_it():
    ended = _run("""
with Watchdog(0.3) as watchdog:
    with watchdog.waiting():
        time.sleep(1)
    print("waited", flush=True)
    time.sleep(1000)
""")
    assert (ended.returncode, ended.stdout) == (1, "waited\n")
    assert ended.stderr.startswith("Timeout")


@pytest.mark.parametrize("how", ["pass", "raise SystemExit(0)", "raise RuntimeError('over')"])
@pytest.mark.parametrize("where", ["Watchdog.heard", "Watchdog.waiting"])
def test_once_the_work_is_over_in_any_way_no_clock_runs(where: str, how: str):
    """The process is given other work: a clock left running would end that."""
    within = "watchdog.waiting()" if where.endswith("waiting") else "nullcontext()"
    ended = _run(f"""
from contextlib import nullcontext
try:
    with Watchdog(0.2) as watchdog, {within}:
        {how}
except (SystemExit, RuntimeError):
    pass
time.sleep(0.8)
print("other work")
""")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "other work\n", "")
