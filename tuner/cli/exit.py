"""End the process of a command."""

import atexit
import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

_STDOUT, _STDERR = 1, 2


def _open_streams() -> None:
    """Let every text be printed: what the encoding lacks is escaped, and a closed output is none.

    A closed descriptor would be given to the next file that is opened, such as a search's journal,
    into which a library might then print.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        pass
    os.close(descriptor)
    if sys.stdout is None:
        sys.stdout = open(_STDOUT, "w", closefd=False)  # noqa: SIM115  # a descriptor
    if sys.stderr is None:
        sys.stderr = open(_STDERR, "w", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def end_with(main: Callable[[], int]) -> NoReturn:
    """Run a command and end its process with the exit status that the command returns.

    The process ends without tearing down the imported modules, which takes Python seconds once
    torch, Ray and MLflow are loaded. Before, as usual, threads are joined, and all exit handlers
    run, those of modules that were imported before the command too.

    If the reader of its output is gone, as after ``| head``, the process ends silently.
    """
    _open_streams()
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
