"""Run a command that ends with its parent: ``python end_with_parent.py COMMAND...``, on Linux."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    os.execv(sys.argv[1], sys.argv[1:])
