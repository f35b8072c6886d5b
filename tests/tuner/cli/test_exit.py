"""How a command's process ends: with its status, all that was to be done, and nothing more."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
ENDING = """
import atexit, sys, threading, time
atexit.register(lambda: print("earlier"))
from tuner.cli import exit as ending

class Imported:
    def __del__(self):
        print("taken apart", flush=True)

kept = Imported()

def main():
    atexit.register(lambda: print("registered"))
    threading.Thread(target=lambda: (time.sleep(0.2), print("thread"))).start()
    {what}

ending.end_with(main)
"""


@pytest.mark.parametrize(
    ("what", "status", "said"),
    [
        ("return 0", 0, ["thread", "registered", "earlier"]),
        ("return 130", 130, ["thread", "registered", "earlier"]),
        ("sys.exit(2)", 2, ["thread", "registered", "earlier", "taken", "apart"]),
        (
            "raise ValueError('a fault of ours')",
            1,
            ["thread", "registered", "earlier", "taken", "apart"],
        ),
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


@pytest.mark.parametrize("closing", [">&-", "2>&-", "<&- >&- 2>&-", ""])
def test_a_command_prints_what_its_output_can_hold(closing: str, tmp_path: Path) -> None:
    """And no file gets the descriptor of an output that is closed."""
    code = (
        "import os, sys\nfrom tuner.cli import exit as ending\n"
        "def main():\n    print('\\udce9 \\xfc')\n    sys.stderr.write('\\xfc')\n"
        "    return os.open('file', os.O_CREAT | os.O_WRONLY)\n"
        "ending.end_with(main)"
    )
    done = subprocess.run(
        ["bash", "-c", f'"$0" -c "$1" {closing}', sys.executable, code],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode > 2, "the number of the file's descriptor"
    assert done.stdout == (
        "" if ">&- " in f"{closing} " and closing[0] != "2" else "\\udce9 \\xfc\n"
    )
    assert done.stderr == ("" if "2>" in closing else "\\xfc")


def test_who_has_read_enough_ends_a_command_without_a_word() -> None:
    for main in ("print('word' * 100_000); return 0", "return print('word', flush=True) or 0"):
        code = (
            f"from tuner.cli import exit as ending\ndef main():\n    {main}\nending.end_with(main)"
        )
        done = subprocess.run(
            ["bash", "-c", '"$0" -c "$1" | true; echo "${PIPESTATUS[0]}"', sys.executable, code],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stderr == ""
        assert int(done.stdout) in (0, 141), (
            "141 is of the shell's, for who wrote into a closed pipe"
        )
