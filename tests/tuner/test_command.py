"""How a command's process ends: with its status, all that was to be done, and nothing more."""

import subprocess
import sys

import pytest

ENDING = """
import atexit, sys, threading, time
from tuner import command

class Imported:
    def __del__(self):
        print("taken apart", flush=True)

kept = Imported()

def main():
    atexit.register(lambda: print("registered"))
    threading.Thread(target=lambda: (time.sleep(0.2), print("thread"))).start()
    {what}

command.end_with(main)
"""


@pytest.mark.parametrize(
    ("what", "status", "said"),
    [
        ("return 0", 0, ["thread", "registered"]),
        ("return 130", 130, ["thread", "registered"]),
        ("sys.exit(2)", 2, ["thread", "registered", "taken", "apart"]),
        ("raise ValueError('a fault of ours')", 1, ["thread", "registered", "taken", "apart"]),
    ],
)
def test_a_process_ends_with_its_status_and_leaves_nothing_undone(
    what: str, status: int, said: list[str]
) -> None:
    command = [sys.executable, "-c", ENDING.format(what=what)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert done.stdout.split() == said
    assert ("a fault of ours" in done.stderr) == (status == 1)
