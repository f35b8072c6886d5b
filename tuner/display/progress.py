"""Progress of the work that a command does before and after the trials of a search."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress

from tuner.display.text import LINE_EVERY_S
from tuner.results import clock

#: So often it is checked whether there is something to print.
_LOOK_EVERY_S = 0.2


@contextmanager
def counting(console: Console, text: str, line: str) -> Iterator[Callable[[int, int], None]]:
    """Show how much of some work is done, unless it takes only a moment.

    Args:
        console: Where to print.
        text: Names the work beside a bar, on a terminal.
        line: Is printed now and then elsewhere, with the fields ``done`` and ``total``.
    """
    started = shown = time.monotonic()
    hidden = not console.is_terminal
    with Progress(console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task(text, total=None, visible=False)

        def progress(done: int, total: int) -> None:
            nonlocal shown
            now = time.monotonic()
            bar.update(task, completed=done, total=total, visible=now - started > 1)
            if hidden and now - shown > LINE_EVERY_S:
                shown = now
                console.print(line.format(done=done, total=total))

        yield progress


@contextmanager
def working(console: Console, text: str, delay_s: float = 0.0) -> Iterator[None]:
    """Show that something takes time: by a spinner on a terminal, else by a line now and then.

    Args:
        console: Where to print.
        text: Names the work.
        delay_s: Seconds before the first line.
    """
    if console.is_terminal:
        with console.status(f"{text} ..."):
            yield
        return
    started_s = time.monotonic()

    def print_lines(is_done: threading.Event) -> None:
        if delay_s and not is_done.wait(delay_s):
            console.print(f"{text} ...")
        while not is_done.wait(LINE_EVERY_S):
            console.print(f"{text} ... {clock(time.monotonic() - started_s)}")

    if not delay_s:
        console.print(f"{text} ...")
    with in_background(print_lines):
        yield


@contextmanager
def acknowledging(interrupted: threading.Event, console: Console, text: str) -> Iterator[None]:
    """Print a text as soon as the block is interrupted, which may take seconds to end."""

    def watch(is_over: threading.Event) -> None:
        while not is_over.wait(_LOOK_EVERY_S):
            if interrupted.is_set():
                console.print(text)
                return

    with in_background(watch):
        yield


@contextmanager
def in_background(work: Callable[[threading.Event], None]) -> Iterator[None]:
    """Run ``work`` in a thread until the block ends, which sets the event that it is given."""
    is_over = threading.Event()
    thread = threading.Thread(target=work, args=(is_over,), name="display", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
