"""Make the pictures of README.md and docs/ from a search that has ended.

.venv/bin/python docs/pictures.py runs/gp

``terminal.png`` is of the same search, run once more below a terminal of 80 by 24 until half of its
time is over; the others are of the folder that is given. It needs the test environment and a
Chromium, which ``CHROMIUM`` names if it is not ``/usr/bin/chromium``.
"""

import argparse
import fcntl
import os
import pty
import re
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import termios
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from io import BytesIO, StringIO
from pathlib import Path
from urllib.parse import urlencode

import pyte
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from rich.console import Console
from rich.style import Style
from rich.text import Text

from tuner import results

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"
COLUMNS, LINES = 80, 24
MAX_BYTES = 200_000
CHROMIUM_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


def main() -> int:
    """Make those that are asked for; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a search that ended")
    names = ("terminal", "report", "mlflow", "samples")
    parser.add_argument("--only", choices=names, nargs="+", default=names, metavar="PICTURE")
    args = parser.parse_args()
    run_dir, console = args.run.absolute(), Console(highlight=False)
    PICTURES.mkdir(exist_ok=True)
    with browsing() as browser:
        for name in args.only:
            console.print(f"{name} ...")
            if name == "samples":
                keep((run_dir / "best" / "samples.png").read_bytes(), name)
            elif name == "terminal":
                keep(terminal(run_dir / "spec.yaml", browser), name)
            elif name == "report":
                keep(report(run_dir, browser), name)
            else:
                keep(mlflow(run_dir, browser), name)
    return 0


def keep(png: bytes, name: str) -> None:
    """Save a picture, small: 256 colours are enough for screens."""
    path = PICTURES / f"{name}.png"
    image = Image.open(BytesIO(png)).convert("RGB")
    image.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    if path.stat().st_size > MAX_BYTES:
        raise SystemExit(f"{path} has {path.stat().st_size:,} bytes, above {MAX_BYTES:,}")


@contextmanager
def browsing() -> Iterator[Browser]:
    """A browser without a window."""
    executable = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def new_page(browser: Browser, width: int, height: int) -> Page:
    """A page of so many pixels, drawn with more of them so that text stays sharp."""
    return browser.new_page(viewport={"width": width, "height": height}, device_scale_factor=1.5)


def terminal(space: Path, browser: Browser) -> bytes:
    """What a terminal shows of a search when half of its time is over."""
    # A name that would be a newcomer's, in place of wherever this copy lies.
    folder = Path(tempfile.gettempdir(), "wgan-tuner")
    folder.mkdir()
    try:
        (folder / ".venv").symlink_to(sys.prefix)
        command = [".venv/bin/python", "-m", "tuner.search", str(space), "--runs-dir", "runs"]
        screen = half_way(command, folder)
    finally:
        shutil.rmtree(folder)
    console = Console(width=COLUMNS, record=True, file=StringIO())
    for row in range(LINES):
        console.print(line_of(screen, row), no_wrap=True, overflow="crop")
    svg = console.export_svg(title="python -m tuner.search search_spaces/gp.yaml")
    page = new_page(browser, 1200, 900)
    page.set_content(f'<body style="margin:0;width:980px">{svg}</body>')
    return page.locator("svg").first.screenshot()


def half_way(command: list[str], folder: Path) -> pyte.Screen:
    """Run a search below a terminal until half of its time is over, then interrupt it."""
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    process_id, terminal_fd = pty.fork()
    if process_id == 0:
        os.chdir(folder)
        python = str(folder / command[0])
        environment = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT)}
        os.execve(python, [python, *command[1:]], environment)
    fcntl.ioctl(terminal_fd, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    kept = None
    try:
        while data := os.read(terminal_fd, 65536):
            # The emulator has no faint text: grey in its place.
            stream.feed(data.replace(b"\x1b[2m", b"\x1b[90m"))
            if kept is None and is_half_way("\n".join(screen.display)):
                kept, screen = screen, pyte.Screen(COLUMNS, LINES)  # what follows goes nowhere
                stream = pyte.ByteStream(screen)
                os.kill(process_id, signal.SIGINT)
    except OSError:  # how Linux says that nobody writes to the terminal any more
        pass
    os.waitpid(process_id, 0)
    if kept is None:
        raise SystemExit("the search ended too early:\n" + "\n".join(screen.display))
    return kept


def is_half_way(shown: str) -> bool:
    """Whether as much time is over as is left, there is a best trial, and all of it is drawn."""
    clocks = re.findall(r"(\d+):(\d\d):(\d\d) (?:elapsed|left)", shown)
    is_whole = re.search(r"^best \S+ +\d.*^Ctrl-C +stops", shown, re.MULTILINE | re.DOTALL)
    if len(clocks) != 2 or not is_whole:
        return False
    over_s, left_s = (int(h) * 3600 + int(m) * 60 + int(s) for h, m, s in clocks)
    return over_s >= left_s


def line_of(screen: pyte.Screen, row: int) -> Text:
    """A line of the emulated terminal with its colours."""
    line = Text()
    for column in range(COLUMNS):
        cell = screen.buffer[row][column]
        name = "bright_black" if cell.fg == "brightblack" else cell.fg
        colour = f"#{name}" if re.fullmatch("[0-9a-f]{6}", name) else name
        line.append(cell.data, Style(color=colour, bold=cell.bold))
    return line


def report(run_dir: Path, browser: Browser) -> bytes:
    """The head of a search's report."""
    page = new_page(browser, 1100, 800)
    page.goto((run_dir / "report.html").as_uri())
    page.wait_for_load_state("networkidle")
    return page.screenshot()


def mlflow(run_dir: Path, browser: Browser) -> bytes:
    """The trials of a search beside their scores, as MLflow's page of runs charts them."""
    search_id = results.read_snapshot(run_dir).search_id
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder, "mlflow.db")
        theirs, ours = sqlite3.connect(run_dir.parent / "mlflow.db"), sqlite3.connect(database)
        with closing(theirs), closing(ours):
            theirs.backup(ours)
            (experiment_id,) = ours.execute(
                "SELECT experiment_id FROM runs JOIN tags USING (run_uuid) WHERE value = ?",
                [search_id],
            ).fetchone()
        shown = {
            "searchFilter": f"tags.`tuner.search_id` = '{search_id}' "
            "and tags.`tuner.trial_id` != ''",
            "orderByKey": "metrics.`w1`",
            "orderByAsc": "true",
            "compareRunsMode": "CHART",
            "workflowType": "machine_learning",
        }
        with serving(database) as address:
            page = new_page(browser, 1280, 720)
            page.goto(f"{address}/#/experiments/{experiment_id}/runs?{urlencode(shown)}")
            page.wait_for_selector(r"text=/[1-9]\d* matching runs/", timeout=120_000)
            for button in (
                "mlflow.assistant.chat_panel.close",
                "mlflow_header.toggle_sidebar_button",
            ):
                page.locator(f'[data-component-id="{button}"]').click()
            page.get_by_placeholder("Search metric charts").fill("^w1")
            page.wait_for_timeout(10_000)  # until its charts are drawn
            return page.screenshot()


@contextmanager
def serving(database: Path) -> Iterator[str]:
    """MLflow's own server of a database, at a free port of this machine."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    options = [
        "--backend-store-uri",
        f"sqlite:///{database}",
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "ui", *options],
        env=environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await_answer(f"{address}/health", server)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def await_answer(url: str, server: subprocess.Popen[bytes]) -> None:
    """Wait until a server answers.

    Raises:
        SystemExit: where it ends, or says nothing for two minutes.
    """
    for _ in range(240):
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            if server.poll() is not None:
                break
            time.sleep(0.5)
    raise SystemExit(f"MLflow's server does not answer at {url}")


if __name__ == "__main__":
    sys.exit(main())
