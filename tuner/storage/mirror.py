"""Copy a search's own files to remote storage, so that it can be resumed on another machine.

The search itself works on a local folder, since its journal needs appends and locks, which an
object store does not offer. A thread copies the files that changed, apart from the checkpoints,
which Ray writes there itself. It guarantees:

* The copied reports are never older than the copied journal, which refers to them, wherever the
  copying ends.
* A copy is overwritten only by a search that continues it.
* One driver at a time: a driver holds a lease in the storage, ``driver.json``, which it renews at
  every turn and which expires after three turns. Two drivers that start within the same second may
  both take it, since pyarrow has no conditional writes; one of them notices at its next turn. The
  machines' clocks must agree to within a turn. If a driver's clock jumps back, another may take its
  lease too early, which it notices likewise; if it jumps ahead, the refusal names the difference.
"""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, final

from tuner.errors import BadInput, Fault
from tuner.storage.folder import Folder, resolve_location
from tuner.storage.uri import is_remote, redact

#: Seconds between two turns of copying.
EVERY_S = 60.0
LEASE = "driver.json"
_TURNS_OF_A_LEASE = 3
#: Every lease has this length: pyarrow requests the length of an object first, and then as many
#: bytes, in between which another driver may have replaced it.
_LEASE_BYTES = 1024
_JOURNAL = "study.log"
#: These are copied first, in this order: the reports before the journal that refers to them.
_FIRST = ("metrics.jsonl", _JOURNAL, "spec.yaml", "trials.csv", "search.log", "best.yaml", "best")
#: The folder of checkpoints, which Ray writes to the storage itself.
_CHECKPOINTS = "ray"
_PICTURES = "samples"


def restore_mirror(location: str, run_dir: Path) -> None:
    """Fetch a search's own files from the storage into its folder, which must not hold a search.

    ``spec.yaml`` is fetched last: until then the folder counts as empty, so that an interrupted
    restore can be repeated.

    Args:
        location: The search's folder in the storage.
        run_dir: The search's local folder.

    Raises:
        BadInput: if a driver on another machine runs that search.
        FileNotFoundError: if the storage holds no search there.
        OSError: if the storage cannot be read, or the folder cannot be written.
    """
    folder = Folder(location)
    _refuse_if_held(folder, _lease(folder))
    names = [name for name in folder.sizes(skip={_CHECKPOINTS}) if _is_own(PurePosixPath(name))]
    if "spec.yaml" not in names:
        raise FileNotFoundError(f"{redact(location)} holds no search: it has no spec.yaml")
    names.remove("spec.yaml")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: folder.fetch(name, run_dir / name), names))
    folder.fetch("spec.yaml", run_dir / "spec.yaml")


@final
class Mirror:
    """Copies a search's own files to its folder in the storage, in a background thread.

    A failed turn is retried at the next one and reported to ``warn``, from that thread, once until
    a turn succeeds. The search never waits for it, and only :meth:`start` raises.
    """

    def __init__(
        self,
        run_dir: Path,
        location: str,
        *,
        warn: Callable[[str], None],
        every_s: float = EVERY_S,
    ) -> None:
        """Prepare a mirror, without accessing the storage.

        Args:
            run_dir: The search's folder.
            location: Its folder in the storage.
            warn: Called with one line when copying begins to fail.
            every_s: Seconds between two turns.
        """
        self._run_dir = run_dir
        self._location = location
        self._warn = warn
        self._every_s = every_s
        self._id = uuid.uuid4().hex
        self._copied: dict[str, tuple[int, int]] = {}  # each copied file's size and time
        self._pictures: Mapping[str, int] = {}
        self._trouble: str | None = None
        self._warned: str | None = None  # since the last turn that succeeded
        self._is_done = False
        self._taken_by: str | None = None
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Take the lease and start copying.

        Raises:
            BadInput: if another driver holds the lease, or the copy is ahead of this folder since
                the search was resumed on another machine.
            OSError: if the storage does not answer.
        """
        self._folder = Folder(self._location)
        _refuse_if_held(self._folder, _lease(self._folder))
        self._refuse_if_behind()
        self._write_lease()
        if (lease := _lease(self._folder)).get("id") != self._id:
            _refuse_if_held(self._folder, lease)
        try:
            sizes = self._folder.sizes(skip={_CHECKPOINTS, "best"})
        except OSError:
            self._folder.delete(LEASE)
            raise
        self._pictures = {k: v for k, v in sizes.items() if k.startswith(f"{_PICTURES}/")}
        self._thread = threading.Thread(target=self._run, name="storage-mirror", daemon=True)
        self._thread.start()

    def close(self, timeout_s: float) -> str | None:
        """Copy the remaining changes, release the lease and return what failed, if anything.

        After ``timeout_s`` seconds the copying continues for as long as the process lives.
        """
        if self._thread is None:
            return None
        self._closing.set()
        self._thread.join(timeout_s)
        if self._is_done:
            return None
        reason = self._trouble or f"copying took more than {timeout_s:g} s"
        message = f"{redact(self._location)} lacks the latest results of the search ({reason})"
        return f"{message}: they are in {self._run_dir}"

    def _run(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._closing.is_set()
            try:
                self._turn(is_last)
            except OSError as error:
                self._report(str(error), "it is retried")
            if not is_last:
                self._closing.wait(self._every_s)

    def _turn(self, is_last: bool) -> None:
        self._renew_lease()
        if self._taken_by is not None:
            self._report(self._taken_by, "nothing more is copied from here")
            return
        ends = float("inf") if is_last else time.monotonic() + self._every_s
        self._copy_changed(ends)
        if is_last:
            self._is_done = True
            self._folder.delete(LEASE)
        self._trouble = self._warned = None

    def _report(self, trouble: str, outlook: str) -> None:
        if outlook != self._warned:
            message = f"the copy of this search in {redact(self._location)} is not up to date"
            self._warn(f"{message} ({trouble}): {outlook}")
        self._trouble, self._warned = trouble, outlook

    def _copy_changed(self, ends: float) -> None:
        """Copy the files that changed; pictures only until ``ends``, the rest at the next turn."""
        if not is_remote(self._location) and _is_same(self._location, self._run_dir):
            return
        # A journal is copied up to its current end, and the reports as they are then or later. The
        # trainings with further seeds have one of their own.
        cuts = {path: _size_and_time(path.stat()) for path in self._run_dir.rglob(_JOURNAL)}
        for path in _own_files(self._run_dir):
            name = path.relative_to(self._run_dir).as_posix()
            try:
                file = path.open("rb")
            except FileNotFoundError:
                continue  # removed since it was listed
            with file:
                is_journal = path.name == _JOURNAL
                now = _size_and_time(os.fstat(file.fileno()))
                state = cuts.get(path, (0, 0)) if is_journal else now
                # A picture that is in the storage is not copied again: pictures never change.
                if state != self._copied.get(name) and state[0] != self._pictures.get(name):
                    self._folder.write(name, file, state[0])
            self._copied[name] = state
            if name.startswith(f"{_PICTURES}/") and time.monotonic() > ends:
                return  # the files that a resume needs must not wait for all pictures

    def _renew_lease(self) -> None:
        """Renew the lease, unless another driver has taken it since it expired."""
        if self._taken_by is not None:
            return
        lease = _lease(self._folder)
        if lease and lease["id"] != self._id:
            self._taken_by = f"host {lease['host']} has resumed this search"
        elif not lease and not self._continues_copy():
            self._taken_by = "another machine has resumed this search"
        else:
            self._write_lease()

    def _write_lease(self) -> None:
        lease = {
            "id": self._id,
            **_this_machine(),
            "pid": os.getpid(),
            "unix_time_s": time.time(),
            "lapses_after_s": float(_TURNS_OF_A_LEASE * self._every_s),
        }
        self._folder.write_bytes(LEASE, json.dumps(lease).encode().ljust(_LEASE_BYTES))

    def _refuse_if_behind(self) -> None:
        if not self._continues_copy():
            message = f"{redact(self._location)} is ahead of {self._run_dir}, or differs from it"
            way_out = "move the local folder away and --resume, to fetch it, or give another --name"
            raise BadInput("name", [Fault("", f"{message}: {way_out}")])

    def _continues_copy(self) -> bool:
        """Return whether the local journal begins with the copied one: both only grow."""
        try:
            copied = self._folder.read(_JOURNAL)
        except FileNotFoundError:
            return True
        copied = copied[: copied.rfind(b"\n") + 1]
        journal = self._run_dir / _JOURNAL
        if not journal.exists():
            return not copied
        with journal.open("rb") as file:
            return file.read(len(copied)) == copied


def _own_files(run_dir: Path) -> list[Path]:
    """List the files to copy, in the order of copying."""
    ranks = {name: rank for rank, name in enumerate(_FIRST)}
    below = [(path, path.relative_to(run_dir)) for path in run_dir.rglob("*")]
    files = [
        (ranks.get(name.parts[0], len(ranks)), name, path)
        for path, name in below
        if _is_own(PurePosixPath(name)) and path.is_file()
    ]
    return [path for _, _, path in sorted(files)]


def _is_own(name: PurePosixPath) -> bool:
    """Return whether a file is the search's: not Ray's, no scratch file or lock, and inside it."""
    return (
        name.parts[0] not in (_CHECKPOINTS, LEASE)
        and not any(part.startswith(".") for part in name.parts)
        and name.suffix != ".lock"
    )


def _size_and_time(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _is_same(location: str, run_dir: Path) -> bool:
    return Path(resolve_location(location)[1]).resolve() == run_dir.resolve()


def _lease(folder: Folder) -> dict[str, Any]:
    """Read the lease; empty if there is none or it is malformed."""
    try:
        lease = json.loads(folder.read(LEASE))
        types = {"id": str, "host": str, "pid": int, "unix_time_s": float, "lapses_after_s": float}
        return lease if all(type(lease.get(k)) is v for k, v in types.items()) else {}
    except (FileNotFoundError, ValueError, AttributeError):
        return {}


def _refuse_if_held(folder: Folder, lease: Mapping[str, Any]) -> None:
    """Raise BadInput if the lease of another driver has not expired."""
    if not lease or _is_dead(lease):
        return
    age_s = time.time() - lease["unix_time_s"]
    left_s = lease["lapses_after_s"] - age_s
    if left_s > 0:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(lease["unix_time_s"]))
        holder = f"a search on host {lease['host']} (process {lease['pid']})"
        message = f"{redact(folder.location)} is in use by {holder}, last seen at {when}, "
        if age_s < -lease["lapses_after_s"]:
            message += f"which is {-age_s:.0f} s ahead of this machine's clock: correct the clock "
            message += f"that is wrong, delete {LEASE} there if that search is gone, or give "
            message += "another --name"
        else:
            message += f"{age_s:.0f} s ago: wait {left_s:.0f} s if it is gone, or give another "
            message += "--name"
        raise BadInput("name", [Fault("", message)])


def _is_dead(lease: Mapping[str, Any]) -> bool:
    """Return whether the lease is of a process of this machine that no longer runs."""
    if any(lease.get(key) != value for key, value in _this_machine().items()):
        return False
    try:
        os.kill(lease["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _this_machine() -> dict[str, str]:
    """Identify this machine and its process ids: containers of a host may share its name."""
    namespace = Path("/proc/self/ns/pid")
    return {
        "host": socket.gethostname(),
        "pid_namespace": str(namespace.readlink()) if namespace.is_symlink() else "",
    }
