"""How the process of a command ends."""

import atexit
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn


def end_with(main: Callable[[], int]) -> NoReturn:
    """Run a command and end its process, without taking apart all that was imported.

    That takes Python seconds once torch, Ray and MLflow are among it, in which a shell waits for
    nothing. All else happens as ever: threads are waited for, and what is registered for the exit.

    Where nobody reads what it prints any more, as ``head`` does not after some lines, it ends
    without a word, as other commands do.
    """
    status: int | None = None

    def leave() -> None:
        if status is not None:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(BrokenPipeError):
                    stream.flush()
            os._exit(status)

    atexit.register(leave)  # the first to be registered is the last to be called
    try:
        status = main()
    except BrokenPipeError:
        status = 128 + signal.SIGPIPE
    sys.exit(status)
