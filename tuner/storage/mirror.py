"""A search's own files, kept in remote storage too: who loses the machine resumes on another.

The folder of a search stays where it is, since its journal needs appends and locks that an object
store does not have. A thread copies what changed beside the checkpoints, under these laws:

* What is copied of the reports is never older than what is copied of the journal, which stands on
  them, at whatever point the copying ends.
* A copy is never overwritten by one that does not go on from it.
* One driver at a time: it keeps a lease there, ``driver.json``, which it renews at every turn and
  which lapses after three. Two that start within the same second may both believe to have it,
  since pyarrow has no conditional writes; the next turn of either tells. The clocks of the
  machines must agree to within a turn.
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

EVERY_S = 60.0
LEASE = "driver.json"
_TURNS_OF_A_LEASE = 3
#: All of one length: pyarrow asks an object store for the length first, and for so much then.
_LEASE_BYTES = 1024
_JOURNAL = "study.log"
#: What is copied first; the reports before the journal that stands on them.
_FIRST = ("metrics.jsonl", _JOURNAL, "spec.yaml", "trials.csv", "search.log", "best.yaml", "best")
#: Ray writes it there itself.
_CHECKPOINTS = "ray"
_PICTURES = "samples"


def restore_mirror(location: str, run_dir: Path) -> None:
    """Bring a search's own files back into its folder, which holds none as yet.

    ``spec.yaml`` comes last: until it is there, the folder counts as empty, and this can be done
    again.

    Raises:
        BadInput: where a driver on another machine goes on with that search.
        FileNotFoundError: where no search is in the storage.
        OSError: where it cannot be read, or written here.
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
    """Copies a search's own files to its folder in the storage, from a thread of its own.

    Trouble is said to `warn` once, from that thread, until a turn succeeds again; every turn tries
    again. Nobody waits for it, and nothing of it raises but `start`.
    """

    def __init__(
        self,
        run_dir: Path,
        location: str,
        *,
        warn: Callable[[str], None],
        every_s: float = EVERY_S,
    ) -> None:
        """Nothing is asked for or written before `start`.

        Args:
            run_dir: The search's folder.
            location: Its folder in the storage.
            warn: Gets one line for each time of trouble.
            every_s: Seconds from one turn to the next.
        """
        self._run_dir = run_dir
        self._location = location
        self._warn = warn
        self._every_s = every_s
        self._id = uuid.uuid4().hex
        self._copied: dict[str, tuple[int, int]] = {}  # bytes and time of what was copied
        self._pictures: Mapping[str, int] = {}
        self._trouble: str | None = None
        self._said: str | None = None  # since then no turn has succeeded
        self._is_done = False
        self._taken_by: str | None = None
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Take the lease, and begin to copy.

        Raises:
            BadInput: where another driver has the lease, or the copy has gone further than this
                folder (the search was resumed elsewhere since).
            OSError: where the storage does not answer.
        """
        self._folder = Folder(self._location)
        _refuse_if_held(self._folder, _lease(self._folder))
        self._refuse_if_behind()
        self._write_lease()
        if (now := _lease(self._folder)).get("id") != self._id:
            _refuse_if_held(self._folder, now)
        sizes = self._folder.sizes(skip={_CHECKPOINTS, "best"})
        self._pictures = {k: v for k, v in sizes.items() if k.startswith(f"{_PICTURES}/")}
        self._thread = threading.Thread(target=self._run, name="storage-mirror", daemon=True)
        self._thread.start()

    def close(self, timeout_s: float) -> str | None:
        """Copy what is left and give the lease back; says what could not be copied, if anything.

        Past `timeout_s` it goes on for as long as the process lives.
        """
        if self._thread is None:
            return None
        self._closing.set()
        self._thread.join(timeout_s)
        if self._is_done:
            return None
        why = self._trouble or f"it was not done within {timeout_s:g} s"
        what = f"{redact(self._location)} lacks the last of the search's results ({why})"
        return f"{what}: they are in {self._run_dir}"

    def _run(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._closing.is_set()
            try:
                self._turn(is_last)
            except OSError as error:
                self._say(str(error), "it is tried again")
            if not is_last:
                self._closing.wait(self._every_s)

    def _turn(self, is_last: bool) -> None:
        self._renew_lease()
        if self._taken_by is not None:
            self._say(self._taken_by, "nothing more is copied from here")
            return
        ends = float("inf") if is_last else time.monotonic() + self._every_s
        self._copy_changed(ends)
        if is_last:
            self._is_done = True
            self._folder.delete(LEASE)
        self._trouble = self._said = None

    def _say(self, trouble: str, outlook: str) -> None:
        if outlook != self._said:
            what = f"the copy of this search in {redact(self._location)} stands still"
            self._warn(f"{what} ({trouble}): {outlook}")
        self._trouble, self._said = trouble, outlook

    def _copy_changed(self, ends: float) -> None:
        """Copy what changed; the pictures that `ends` leaves are the next turn's."""
        if not is_remote(self._location) and _is_same(self._location, self._run_dir):
            return
        # The reports are copied as they are now or later, and the journal as it is now.
        journal = self._run_dir / _JOURNAL
        cut = _size_and_time(journal.stat()) if journal.exists() else (0, 0)
        for path in _own_files(self._run_dir):
            name = path.relative_to(self._run_dir).as_posix()
            try:
                file = path.open("rb")
            except FileNotFoundError:
                continue  # replaced or removed since it was listed
            with file:
                now = cut if name == _JOURNAL else _size_and_time(os.fstat(file.fileno()))
                # A picture stays as it was written.
                if now != self._copied.get(name) and now[0] != self._pictures.get(name):
                    self._folder.write(name, file, now[0])
            self._copied[name] = now
            if name.startswith(f"{_PICTURES}/") and time.monotonic() > ends:
                return  # what a resume needs must not wait for all of them

    def _renew_lease(self) -> None:
        """Renew the lease, unless another driver took it, or had it for a while, once it lapsed."""
        if self._taken_by is not None:
            return
        now = _lease(self._folder)
        if now and now["id"] != self._id:
            self._taken_by = f"a search on host {now['host']} has gone on with it"
        elif not now and not self._goes_on():
            self._taken_by = "a search on another machine has gone on with it"
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
        if not self._goes_on():
            what = f"{redact(self._location)} has gone further than {self._run_dir}, or another way"
            way_out = "move that folder away and --resume, to fetch it, or give another --name"
            raise BadInput("name", [Fault("", f"{what}: {way_out}")])

    def _goes_on(self) -> bool:
        """Whether the journal here begins with the one there: both are only ever added to."""
        try:
            there = self._folder.read(_JOURNAL)
        except FileNotFoundError:
            return True
        there = there[: there.rfind(b"\n") + 1]
        here = self._run_dir / _JOURNAL
        if not here.exists():
            return not there
        with here.open("rb") as file:
            return file.read(len(there)) == there


def _own_files(run_dir: Path) -> list[Path]:
    """The files to be copied, in the order in which they are."""
    ranks = {name: rank for rank, name in enumerate(_FIRST)}
    below = [(path, path.relative_to(run_dir)) for path in run_dir.rglob("*")]
    own = [(path, name) for path, name in below if _is_own(PurePosixPath(name)) and path.is_file()]
    own.sort(key=lambda found: (ranks.get(found[1].parts[0], len(ranks)), found[1]))
    return [path for path, _ in own]


def _is_own(name: PurePosixPath) -> bool:
    """Not Ray's, nor a scratch file or lock; and not out of the folder."""
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
    """Who has the lease; nobody, where there is none or it cannot be made sense of."""
    try:
        lease = json.loads(folder.read(LEASE))
        known = {"id": str, "host": str, "pid": int, "unix_time_s": float, "lapses_after_s": float}
        return lease if all(type(lease.get(k)) is v for k, v in known.items()) else {}
    except (FileNotFoundError, ValueError, AttributeError):
        return {}


def _refuse_if_held(folder: Folder, lease: Mapping[str, Any]) -> None:
    """Raise BadInput where a lease is another driver's, and has not lapsed."""
    if not lease or _is_dead(lease):
        return
    age_s = time.time() - lease["unix_time_s"]
    left_s = lease["lapses_after_s"] - age_s
    if left_s > 0:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(lease["unix_time_s"]))
        what = f"{redact(folder.location)} is in use by a search on host {lease['host']} (process "
        what += f"{lease['pid']}), last heard of at {when}, {age_s:.0f} s ago: wait {left_s:.0f} s"
        raise BadInput("name", [Fault("", f"{what} if that one is gone, or give another --name")])


def _is_dead(lease: Mapping[str, Any]) -> bool:
    """Whether it is of a process of this machine that is no more: it was killed."""
    here = _this_machine()
    if any(lease.get(key) != value for key, value in here.items()):
        return False
    try:
        os.kill(lease["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _this_machine() -> dict[str, str]:
    """Where a process number means something: containers of one host may share its name."""
    numbers = Path("/proc/self/ns/pid")
    return {
        "host": socket.gethostname(),
        "pid_namespace": str(numbers.readlink()) if numbers.is_symlink() else "",
    }
