"""Where files are kept besides this machine: a folder, or the URI of one in an object store.

`faults` looks at the text alone, and imports nothing. All else goes through ``pyarrow.fs``, as
Ray's own checkpoints do, and raises OSErrors of one line that hold no credentials: those come from
the environment (``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL``, ``GOOGLE_APPLICATION_CREDENTIALS``,
...) or the machine's own role.
"""

import os
import posixpath
import re
import secrets
import shutil
import threading
from collections.abc import Container, Iterator
from contextlib import contextmanager
from functools import lru_cache
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, final
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem
from tuner.storage.uri import BOOLEAN_OPTIONS, URI, is_remote, join, redact

#: Seconds without a byte from an S3 server after which a request fails, and how often it is tried:
#: some 16 s in all. Pyarrow by itself goes on for 100 s, and a process cannot exit before that.
SILENCE_S, ATTEMPTS = 3.0, 4
_CHUNK = 8 << 20

_SECRET_VARIABLES = re.compile(r"KEY|SECRET|TOKEN|PASSWORD")


def resolve_location(location: str) -> tuple["FileSystem", str]:
    """Its file system, as Ray uses it too, and the path in it.

    Raises:
        OSError: where pyarrow cannot make sense of it, or does not find the bucket's region.
    """
    from pyarrow import fs

    if not URI.match(location):
        return fs.LocalFileSystem(), join(location)
    with _in_words(f"cannot use {redact(location)}"):
        file_system, path = fs.FileSystem.from_uri(location)
    return file_system, path.rstrip("/") or "/"


def _less_patient(file_system: "FileSystem", location: str, silence_s: float) -> "FileSystem":
    """The same S3 server, for who must not wait; no other kind of file system can be told."""
    from pyarrow import fs

    if file_system.type_name != "s3":
        return file_system
    options: dict[str, Any] = dict(parse_qsl(location.partition("?")[2]))
    options |= {name: options.get(name, "").lower() in ("1", "true") for name in BOOLEAN_OPTIONS}
    # Pyarrow reads these where a file system comes from a URI, but not where it is made so.
    servers = (os.environ.get(f"AWS_ENDPOINT_URL{of}") for of in ("_S3", ""))
    options.setdefault("endpoint_override", next(filter(None, servers), None))
    return fs.S3FileSystem(
        **{**options, "region": file_system.region},  # type: ignore[attr-defined]
        connect_timeout=silence_s,
        request_timeout=silence_s,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        allow_delayed_open=True,  # a small file is one request, done whole or not at all
    )


@lru_cache(maxsize=16)
def _base(location: str) -> PurePosixPath:
    return PurePosixPath(resolve_location(location)[1])


def location_of(location: str, path: str) -> str:
    """The location of a path in a location's file system (as Ray's ``Checkpoint.path``).

    Raises:
        ValueError: if the path is not below the location.
    """
    return join(location, *PurePosixPath(path).relative_to(_base(location)).parts)


def file_exists(folder: str, name: str) -> bool:
    """Whether a folder has such a file. Raises OSError where it cannot be asked."""
    return Folder(folder).has(name)


def fetch_file(folder: str, name: str, target: Path) -> None:
    """Copy a file of a folder here: whole, or not at all.

    Raises:
        FileNotFoundError: if there is none.
        OSError: if it cannot be read, or written here.
    """
    Folder(folder).fetch(name, target)


def remove_folder(folder: str) -> None:
    """Delete a folder and all that is in it; one that is not there is no fault.

    Raises:
        OSError: if it cannot be deleted.
    """
    if is_remote(folder):
        file_system, path = resolve_location(folder)
        with _in_words(f"cannot delete {redact(folder)}"):
            file_system.delete_dir_contents(path, missing_dir_ok=True)
    else:
        shutil.rmtree(join(folder), ignore_errors=True)


def check_reachable(location: str, timeout_s: float = 20.0) -> None:
    """See that a file can be written there, read back and deleted.

    Raises:
        OSError: if not, or not in time, with why and what to do.
    """
    failed: list[Exception] = []

    def probe() -> None:
        try:
            _probe(location, silence_s=min(SILENCE_S, timeout_s / (ATTEMPTS + 1)))
        except Exception as error:  # handed over to the thread that waits
            failed.append(error)

    # In a thread, since not every file system can be told when to give up.
    thread = threading.Thread(target=probe, name="storage-probe", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if thread.is_alive():
        what = f"{redact(location)} did not answer within {timeout_s:g} s"
        raise OSError(f"{what}: check its address, and the network")
    if failed:
        raise failed[0]


def _probe(location: str, silence_s: float) -> None:
    name, said = f".reachable-{secrets.token_hex(8)}", secrets.token_bytes(8)
    advice = "choose a folder that may be written to"
    if is_remote(location):
        advice = "check that its bucket exists and may be written to, and the credentials and the "
        advice += "address in the environment"
    try:
        folder = Folder(location, silence_s)
        folder.write_bytes(name, said)
        back = folder.read(name)
        folder.delete(name)
    except OSError as error:
        raise OSError(f"{error}: {advice}") from None
    if back != said:
        raise OSError(f"{redact(location)} does not give back what is written to it")


@final
class Folder:
    """The files of a folder at some location, by their names below it.

    Everything raises OSError where it cannot be done. A file is replaced as a whole, but on HDFS.
    """

    def __init__(self, location: str, silence_s: float = SILENCE_S) -> None:
        """Nothing is asked for yet."""
        self.location = location
        file_system, self._path = resolve_location(location)
        self._file_system = _less_patient(file_system, location, silence_s)
        self._is_local = self._file_system.type_name == "local"
        self._has_folders = self._file_system.type_name not in ("s3", "gcs", "abfs")

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        from pyarrow.fs import FileType

        with _in_words(f"cannot look for {name} in {redact(self.location)}"):
            return self._file_system.get_file_info(self._at(name)).type == FileType.File

    def read(self, name: str) -> bytes:
        """A file's content. Raises FileNotFoundError if there is none."""
        with self._reading(name) as file:
            return file.read()

    def fetch(self, name: str, target: Path) -> None:
        """Copy a file here: whole, or not at all. Raises FileNotFoundError if there is none."""
        with self._reading(name) as source:
            target.parent.mkdir(parents=True, exist_ok=True)
            scratch = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
            try:
                with scratch.open("wb") as file:
                    shutil.copyfileobj(source, file, _CHUNK)
                scratch.replace(target)
            finally:
                scratch.unlink(missing_ok=True)

    def write(self, name: str, source: BinaryIO, size: int) -> None:
        """Write a file of the next `size` bytes of another, or of all that it has, if fewer."""
        path = self._at(name)
        folder, last = posixpath.split(path)
        scratch = f"{folder}/.{last}.{secrets.token_hex(4)}.part" if self._is_local else path
        with _in_words(f"cannot write {name} to {redact(self.location)}"):
            if self._has_folders:
                self._file_system.create_dir(folder, recursive=True)
            with self._file_system.open_output_stream(scratch, compression=None) as file:
                while chunk := source.read(min(size, _CHUNK)):
                    file.write(chunk)
                    size -= len(chunk)
            if scratch != path:
                self._file_system.move(scratch, path)

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a small file."""
        self.write(name, BytesIO(content), len(content))

    def delete(self, name: str) -> None:
        """Delete a file; FileNotFoundError if there is none."""
        with _in_words(f"cannot delete {name} in {redact(self.location)}"):
            self._file_system.delete_file(self._at(name))

    def sizes(self, skip: Container[str] = ()) -> dict[str, int]:
        """Bytes of every file, by name, but of those in a folder right below it to be skipped."""
        from pyarrow.fs import FileSelector, FileType

        with _in_words(f"cannot list {redact(self.location)}"):
            found = []
            for top in self._file_system.get_file_info(FileSelector(self._path, True)):
                found.append(top)
                if top.type == FileType.Directory and top.base_name not in skip:
                    below = FileSelector(top.path, allow_not_found=True, recursive=True)
                    found += self._file_system.get_file_info(below)
        files = (entry for entry in found if entry.type == FileType.File)
        return {str(PurePosixPath(f.path).relative_to(self._path)): f.size for f in files}

    def _at(self, name: str) -> str:
        return posixpath.join(self._path, name)

    @contextmanager
    def _reading(self, name: str) -> Iterator[BinaryIO]:
        with (
            _in_words(f"cannot read {name} from {redact(self.location)}"),
            self._file_system.open_input_stream(self._at(name), compression=None) as file,
        ):
            yield file


@contextmanager
def _in_words(what: str) -> Iterator[None]:
    """Whatever pyarrow raises, as an OSError of one line."""
    from pyarrow import ArrowException

    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{what}: {_masked(error)}") from None
    except (OSError, ArrowException) as error:
        number = getattr(error, "errno", None)
        text = f"{what}: {_masked(error)}"
        raise (OSError(number, text) if number is not None else OSError(text)) from None


def _masked(error: Exception) -> str:
    text = re.sub(r"^\[Errno \d+\] ", "", " ".join(str(error).split()))
    for variable, value in os.environ.items():
        if _SECRET_VARIABLES.search(variable) and len(value) >= 8:
            text = text.replace(value, "***")
    text = re.sub(r" \(Request ID: \w+\)", "", text)
    return re.sub(r"//[^/\s@]*@", "//***@", text)[:400]
