"""Serve the report of a search on this machine, written again as the search goes on.

``python -m tuner.page.live RUN PARENT`` serves it on the socket that it gets as its standard input,
until its parent process has ended.
"""

import hashlib
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import final

from tuner import results, storage
from tuner.errors import BadInput
from tuner.page.facts import Facts
from tuner.page.page import ImportanceCache, page
from tuner.page.server_process import HOST

#: The files that a report is made of, in a search's folder.
_SOURCES = (
    "spec.yaml", "study.log", "metrics.jsonl", "retrained.json", "mlflow.json", "provenance.json",
)  # fmt: skip
#: Seconds between two reports, at least; and times what the last one took, for a large search.
_MIN_INTERVAL_S, _MIN_RATIO = 5.0, 4.0
#: Seconds that the intervals of the importances may take in one report; later ones have more.
_LIMIT_S = 2.0
#: How far a server that a search has started stands back from the trials.
_NICENESS = 10


def serve(
    run_dir: Path, listening: socket.socket, parent: int | None = None
) -> ThreadingHTTPServer:
    """Return a server of the report, to be run by ``serve_forever``.

    It reads the folder and changes nothing in it.

    Args:
        run_dir: The search's folder.
        listening: The socket, of :func:`tuner.page.listen`; the server closes it.
        parent: The process with which this one ends, if any.
    """
    live = LiveReport(run_dir)

    class Handler(_Handler):
        report = live

    return _Server(listening, Handler, parent)


@final
class LiveReport:
    """The report of a search, as a page that reloads itself when there is a newer one."""

    def __init__(self, run_dir: Path) -> None:
        """Write no report yet."""
        self._run_dir = run_dir.resolve()
        self._cache: ImportanceCache = {}
        self._lock = threading.Lock()
        self._version, self._html = "", b""
        self._next_s = 0.0

    def version(self) -> str:
        """Return the name of the newest report that :meth:`html` would return."""
        return self._version if time.monotonic() < self._next_s else self._newest()

    def html(self) -> bytes:
        """Return the report, written again if the search has changed since.

        Raises:
            BadInput: if the folder does not hold a search any more.
            OSError: if it cannot be read.
        """
        with self._lock:
            version = self.version()
            if version != self._version:
                started_s = time.monotonic()
                facts = Facts(results.read_snapshot(self._run_dir))
                text = page(facts, _LIMIT_S, self._cache, version)
                self._version, self._html = version, text.encode()
                ended_s = time.monotonic()
                wait_s = max(_MIN_INTERVAL_S, _MIN_RATIO * (ended_s - started_s))
                self._next_s = ended_s + wait_s
            return self._html

    def _newest(self) -> str:
        """Return a digest of the search's files, and of whether it runs."""
        state: list[object] = [storage.is_owned(self._run_dir)]
        for name in _SOURCES:
            path = self._run_dir / name
            stat = path.stat() if path.exists() else None
            state.append(stat and (stat.st_size, stat.st_mtime_ns))
        return hashlib.sha256(repr(state).encode()).hexdigest()[:16]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(
        self, listening: socket.socket, handler: type[BaseHTTPRequestHandler], parent: int | None
    ) -> None:
        super().__init__(listening.getsockname()[:2], handler, bind_and_activate=False)
        self.socket.close()
        self.socket, self._parent = listening, parent

    def service_actions(self) -> None:
        """Look, every half second, whether the parent has ended."""
        if self._parent not in (None, os.getppid()):
            os._exit(0)


class _Handler(BaseHTTPRequestHandler):
    """Answers for the page and for its version, and refuses all else."""

    report: LiveReport
    protocol_version = "HTTP/1.1"
    #: Seconds after which an idle connection is closed.
    timeout = 60

    def do_GET(self) -> None:
        # A page of another site may name this address by a name of its own (DNS rebinding).
        host = self.headers.get("Host", "").rpartition(":")[0]
        if host not in (HOST, "localhost"):
            self._answer(HTTPStatus.FORBIDDEN, b"open this page at 127.0.0.1 or localhost\n")
        elif self.path == "/":
            self._answer_with(self.report.html, "text/html; charset=utf-8")
        elif self.path == "/version":
            self._answer_with(lambda: self.report.version().encode(), "text/plain")
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"there is only /\n")

    def log_message(self, format: str, *args: object) -> None:
        """Print no line for a request."""

    def _answer_with(self, body: Callable[[], bytes], kind: str) -> None:
        try:
            self._answer(HTTPStatus.OK, body(), kind)
        except (BadInput, OSError) as error:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, f"{error}\n".encode())

    def _answer(
        self, status: HTTPStatus, body: bytes, kind: str = "text/plain; charset=utf-8"
    ) -> None:
        headers: Mapping[str, str] = {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Cross-Origin-Resource-Policy": "same-origin",
        }
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def main(arguments: Sequence[str]) -> None:
    """Serve on the socket that is the standard input."""
    run_dir, parent = arguments
    os.nice(_NICENESS)
    with serve(Path(run_dir), socket.socket(fileno=0), int(parent)) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
