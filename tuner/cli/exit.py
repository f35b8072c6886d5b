"""End the process of a command."""

import atexit
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import NoReturn


def end_with(main: Callable[[], int]) -> NoReturn:
    """Run a command and end its process with the exit status that the command returns.

    The process ends without tearing down the imported modules, which takes Python seconds once
    torch, Ray and MLflow are loaded. Before, as usual, threads are joined, and all exit handlers
    run, those of modules that were imported before the command too.

    If the reader of its output is gone, as after ``| head``, the process ends silently.
    """
    try:
        status = main()
    except BrokenPipeError:
        status = 128 + signal.SIGPIPE
    try:
        threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue]
        atexit._run_exitfuncs()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(BrokenPipeError):
                stream.flush()
        os._exit(status)
