"""A command that the kernel ends with its parent, as Ray's agents with their raylet."""

import subprocess
import sys
from pathlib import Path

import pytest

from tuner.cluster import descriptors, end_with_parent

_PARENT = """
import subprocess, sys
sleeps = "import time; print(flush=True); time.sleep(600)"
command = [sys.executable, "-IS", sys.argv[1], sys.executable, "-ISc", sleeps]
child = subprocess.Popen(command, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
child.wait()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux alone does that")
def test_a_command_ends_with_its_parent_however_that_ends() -> None:
    script = str(Path(end_with_parent.__file__))
    with subprocess.Popen(
        [sys.executable, "-ISc", _PARENT, script], stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        child = descriptors.hold(int(parent.stdout.readline()))
        assert child is not None
        assert descriptors.have_ended([child]) == set()
        parent.kill()
    assert descriptors.have_ended([child], timeout_s=60) == {child}
    descriptors.let_go([child])
