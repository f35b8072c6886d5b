"""Serve the report of a search from the search itself, by a process that ends with it.

To draw a page takes seconds of a CPU: in a thread they would be lost to the search.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: The only address that a report is served at.
HOST = "127.0.0.1"
_TIME_TO_END_S = 5.0


def listen(port: int) -> socket.socket:
    """Return a socket that listens on the loopback address.

    Args:
        port: The port; 0 for any that is free.

    Raises:
        OSError: if the port is taken.
    """
    return socket.create_server((HOST, port))


def address_of(listening: socket.socket) -> str:
    """Return the address at which a browser finds what is served on a socket."""
    host, port = listening.getsockname()[:2]
    return f"http://{host}:{port}"


@contextmanager
def served(run_dir: Path, listening: socket.socket) -> Iterator[None]:
    """Serve the report of a search, in a process with a low priority, until the block ends.

    If this process is killed, the other one ends by itself within a second. It reads the folder
    and changes nothing in it.

    Args:
        run_dir: The search's folder.
        listening: The socket, of :func:`listen`.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "tuner.page.live", str(run_dir.resolve()), str(os.getpid())],
        # The folder of this program, which is then the one that is found.
        cwd=Path(__file__).parents[2],
        stdin=listening.fileno(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # or Ctrl-C would end it while the search still writes its results
    )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(_TIME_TO_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
