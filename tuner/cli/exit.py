"""End the process of a command."""

import atexit
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn


def end_with(main: Callable[[], int]) -> NoReturn:
    """Run a command and end its process with the exit status that the command returns.

    The process ends without tearing down the imported modules, which takes Python seconds once
    torch, Ray and MLflow are loaded. Threads are joined and exit handlers run as usual.

    If the reader of its output is gone, as after ``| head``, the process ends silently.
    """
    status: int | None = None

    def leave() -> None:
        if status is not None:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(BrokenPipeError):
                    stream.flush()
            os._exit(status)

    atexit.register(leave)  # the handler that is registered first is called last
    try:
        status = main()
    except BrokenPipeError:
        status = 128 + signal.SIGPIPE
    sys.exit(status)
