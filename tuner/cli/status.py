"""The exit status of a command, and the messages of the errors that end it."""

import functools
import sys
from collections.abc import Callable
from enum import IntEnum
from typing import ParamSpec

from tuner.errors import BadInput, Halted
from tuner.printable import printable
from tuner.process import interrupts_noted

P = ParamSpec("P")


class ExitStatus(IntEnum):
    """How a command ended, as a shell sees it."""

    DONE = 0
    #: The command ran, but has no result: no trial completed, or MLflow could not be written.
    NO_RESULT = 1
    BAD_INPUT = 2
    #: A cause outside the search stopped it.
    HALTED = 3
    #: 128 + SIGINT, as shells have it.
    INTERRUPTED = 130


#: The statuses of a command that only reads, for its help.
STATUS_HELP = "Exit status: 0 done, 2 bad input, 130 interrupted."


def with_exit_status(main: Callable[P, int]) -> Callable[P, int]:
    """Make a command print its errors to stderr, without a traceback, and return its exit status.

    An error that is not listed in :mod:`tuner.errors` is a bug, and is raised.
    """

    @functools.wraps(main)
    def run(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            with interrupts_noted():
                return main(*args, **kwargs)
        except BadInput as error:
            message, status = str(error), ExitStatus.BAD_INPUT
        except Halted as error:
            message, status = str(error), ExitStatus.HALTED
        except KeyboardInterrupt as interrupt:
            message, status = str(interrupt) or "interrupted", ExitStatus.INTERRUPTED
        sys.stderr.write(f"{printable(message)}\n")
        return status

    return run
