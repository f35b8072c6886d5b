"""A search's folder, held by one process at a time."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from tuner.errors import BadInput, Fault

_LOCK = ".lock"


@contextmanager
def own_folder(run_dir: Path) -> Iterator[Path]:
    """The folder, made and held: two drivers in one would undo each other's work.

    Raises:
        BadInput: where another process holds it, or it cannot be locked.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    # Its fallback, a file that only exists, would outlast a process that is killed.
    lock = FileLock(run_dir / _LOCK, blocking=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        what = f"{run_dir} is in use by a search that is running: wait, or give another --name"
        raise BadInput("name", [Fault("", what)]) from None
    except OSError as error:
        what = f"{run_dir / _LOCK} cannot be locked ({error.strerror}): give another --name"
        raise BadInput("name", [Fault("", what)]) from error
    try:
        yield run_dir
    finally:
        if [path.name for path in run_dir.iterdir()] == [_LOCK]:
            shutil.rmtree(run_dir)  # it was refused: leave nothing behind
        lock.release()


def is_owned(run_dir: Path) -> bool:
    """Whether a driver holds the folder; a search that starts in this microsecond is refused.

    By a shared lock, which filelock has none of: those who look do not take each other for drivers,
    and need not be allowed to write.
    """
    try:
        file = os.open(run_dir / _LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False
