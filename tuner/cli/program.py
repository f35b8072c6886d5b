"""How a command was called, for its usage message."""

import sys
from pathlib import Path

#: The program that a wheel installs, which runs any command.
PROGRAM = "wgan-tuner"


def program_of(command: str) -> str:
    """Return how this process names a command: ``wgan-tuner list``, or ``python -m tuner.list``."""
    if Path(sys.argv[0]).name == PROGRAM:
        return f"{PROGRAM} {command}"
    return f"python -m tuner.{command}"
