"""The parser of a command, and how the command was called."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from tuner.cli.status import STATUS_HELP

#: The program that a wheel installs, which runs any command.
PROGRAM = "wgan-tuner"


def program_of(command: str) -> str:
    """Return how this process names a command: ``wgan-tuner list``, or ``python -m tuner.list``."""
    if Path(sys.argv[0]).name == PROGRAM:
        return f"{PROGRAM} {command}"
    return f"python -m tuner.{command}"


def command_parser(
    command: str, description: str, epilog: str = STATUS_HELP
) -> argparse.ArgumentParser:
    """Create the parser of a command, for its arguments to be added.

    Args:
        command: The module of this name.
        description: What it does, for its help.
        epilog: Its exit statuses.
    """
    # Abbreviations would be other options once a later version has more.
    return argparse.ArgumentParser(
        prog=program_of(command), description=description, epilog=epilog, allow_abbrev=False
    )


def whole(low: int, high: int) -> Callable[[str], int]:
    """Return the type of an argument that is a whole number within two bounds."""

    def parsed(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
            rule = f"must be a whole number from {low} to {high:,}"
            raise argparse.ArgumentTypeError(f"{rule}, got {text!r:.80}")
        return int(text)

    return parsed
