"""Progress of the work that a command does before a search starts."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress

from tuner.display.text import LINE_EVERY_S


@contextmanager
def decoding(console: Console) -> Iterator[Callable[[int, int], None]]:
    """Show how many image files are read, unless it takes only a moment."""
    started = shown = time.monotonic()
    hidden = not console.is_terminal
    with Progress(console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task("decoding images", total=None, visible=False)

        def progress(done: int, total: int) -> None:
            nonlocal shown
            now = time.monotonic()
            bar.update(task, completed=done, total=total, visible=now - started > 1)
            if hidden and now - shown > LINE_EVERY_S:
                shown = now
                console.print(f"decoded {done:,} of {total:,} images")

        yield progress
