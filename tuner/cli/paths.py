"""The paths of a command line, for argparse; this module loads nothing heavy."""

import argparse
import os
from pathlib import Path

from tuner.errors import BadInput, Fault

#: Bytes of a file's name, in the file systems of Linux and macOS.
_LONGEST_NAME = 255


def path(text: str) -> Path:
    """Return the path that an option names, for argparse: shells leave the ``~`` of ``--out=~/x``.

    Raises:
        ArgumentTypeError: if there is no such user or variable, or no file can have the name.
    """
    from trainables.config import expand

    try:
        return plain_path(expand(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def unwritable(file: Path, error: OSError) -> BadInput:
    """Return the error for a file, given by ``--out``, that cannot be written."""
    message = f"cannot be written ({error.strerror or error}): give another file by --out"
    return BadInput(str(file), [Fault("", message)])


def plain_path(text: str) -> Path:
    """Return the path that an argument names, for argparse; shells have expanded it.

    Raises:
        ArgumentTypeError: if no file can have the name.
    """
    path = Path(text)
    if "\0" in text or any(len(os.fsencode(part)) > _LONGEST_NAME for part in path.parts):
        rule = f"must be a path whose names have at most {_LONGEST_NAME} bytes and no null byte"
        raise argparse.ArgumentTypeError(f"{rule}, got {text!r:.80}")
    return path
