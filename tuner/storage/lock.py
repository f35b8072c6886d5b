"""A search's folder, held by one process at a time."""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tuner.errors import BadInput, Fault


@contextmanager
def owned(run_dir: Path) -> Iterator[Path]:
    """The folder, made and held: two drivers in one would undo each other's work.

    Raises:
        BadInput: where another process holds it.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            what = f"{run_dir} is in use by a search that is running: wait, or give another --name"
            raise BadInput("name", [Fault("", what)]) from None
        try:
            yield run_dir
        finally:
            if [path.name for path in run_dir.iterdir()] == [".lock"]:
                shutil.rmtree(run_dir)  # it was refused: leave nothing behind


def is_held(run_dir: Path) -> bool:
    """Whether a driver holds the folder; a search that starts in this microsecond is refused."""
    lock = run_dir / ".lock"
    if not lock.exists():
        return False
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
