"""The option that serves a report, and the port that it listens on."""

import os
import socket
from typing import Any

from tuner import page
from tuner.cli.program import whole
from tuner.errors import BadInput, Fault

#: Next to that of Ray's dashboard, 8265.
_PORT, _LAST_PORT = 8266, 65_535


def add_serve(parser: Any, purpose: str) -> None:
    """Add the option to a parser, or to a group of its options.

    Args:
        parser: The parser.
        purpose: What is served, for the help.
    """
    parser.add_argument(
        "--serve",
        nargs="?",
        const=_PORT,
        type=whole(0, _LAST_PORT),
        metavar="PORT",
        help=f"{purpose} (default port: {_PORT}; 0: any that is free)",
    )


def listen(port: int) -> socket.socket:
    """Listen on a port of this machine.

    Raises:
        BadInput: if that is not possible.
    """
    try:
        return page.listen(port)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error
        message = f"cannot listen on port {port} ({reason}): give another"
        raise BadInput("--serve", [Fault("", message)]) from error
