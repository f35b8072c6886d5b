"""A search's folder, held by one process at a time."""

import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from tuner.errors import BadInput, Fault

_LOCK = ".lock"
#: The files of a search that are appended to; all others are replaced as a whole.
_APPENDED = ("study.log", "metrics.jsonl", "search.log")
#: Seconds; longer than :func:`is_owned` takes, so that reading a folder refuses no search in it.
_PATIENCE_S = 0.5


def in_use(run_dir: Path) -> BadInput:
    """Return the error for a folder that a running search holds."""
    message = f"{run_dir} is in use by a search that is running: wait, or give another --name"
    return BadInput("name", [Fault("", message)])


@contextmanager
def own_folder(run_dir: Path) -> Iterator[Path]:
    """Make the folder and hold it: two drivers in one would undo each other's work.

    The kernel releases the lock with the process, however that ends.

    Raises:
        BadInput: where another process holds it, it cannot be locked, or what should be a file
            of the search leads elsewhere.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    _refuse_special_files(run_dir)
    # Its fallback, a file that only exists, would outlast a process that is killed.
    lock = FileLock(run_dir / _LOCK, timeout=_PATIENCE_S, fallback_to_soft=False)
    try:
        held = lock.acquire()
    except Timeout:
        raise in_use(run_dir) from None
    except OSError as error:
        what = f"{run_dir / _LOCK} cannot be locked ({error.strerror}): give another --name"
        raise BadInput("name", [Fault("", what)]) from error
    with held:
        try:
            yield run_dir
        finally:
            if [path.name for path in run_dir.iterdir()] == [_LOCK]:
                shutil.rmtree(run_dir)  # it was refused: leave nothing behind


def _refuse_special_files(run_dir: Path) -> None:
    """Refuse links and pipes in place of the files that are opened as they are.

    A link would lead out of the folder, which another person may have made, and a pipe blocks.

    Raises:
        BadInput: if there is one.
    """
    for name in (_LOCK, *_APPENDED):
        path = run_dir / name
        if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
            kind = "a symbolic link" if path.is_symlink() else "no file"
            message = f"{path} must be a regular file, got {kind}: replace it, or give another"
            raise BadInput("name", [Fault("", f"{message} --name")])


def is_owned(run_dir: Path) -> bool:
    """Tell whether a driver holds the folder.

    By a shared lock, which filelock does not offer on a file: readers do not take each other for
    drivers, and need no right to write. A symbolic link counts as no lock.
    """
    try:
        file = os.open(run_dir / _LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):
            return False
        raise
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False
