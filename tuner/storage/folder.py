"""Read and write files in a folder, local or in an object store.

A location is a path, or a URI such as ``s3://bucket/folder``. Every access goes through
``pyarrow.fs``, as Ray's own checkpoints do. Errors are OSErrors of one line that hold no
credentials: those come from the environment (``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL``,
``GOOGLE_APPLICATION_CREDENTIALS``, ...) or from the machine's role.
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

from trainables.config import URI
from tuner.storage.uri import BOOLEAN_OPTIONS, is_remote, join, redact

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

#: Seconds without a byte from an S3 server after which a request fails, and how often a request is
#: sent: about 16 s in all. Pyarrow's default is 100 s, and the process cannot exit before that.
REQUEST_TIMEOUT_S, MAX_ATTEMPTS = 3.0, 4
#: Bytes copied at a time.
_CHUNK = 8 << 20

_SECRET_VARIABLES = re.compile(r"KEY|SECRET|TOKEN|PASSWORD")


def resolve_location(location: str) -> tuple["FileSystem", str]:
    """Return the file system of a location, the one that Ray uses too, and the path in it.

    Raises:
        OSError: if pyarrow rejects the location or does not find the bucket's region.
    """
    from pyarrow import fs

    if not URI.match(location):
        return fs.LocalFileSystem(), join(location)
    with _errors_in_one_line(f"cannot use {redact(location)}"):
        file_system, path = fs.FileSystem.from_uri(location)
    return file_system, path.rstrip("/") or "/"


def _with_timeouts(
    file_system: "FileSystem", location: str, request_timeout_s: float
) -> "FileSystem":
    """Return the same S3 file system with short timeouts; another kind is returned as it is."""
    from pyarrow import fs

    if file_system.type_name != "s3":
        return file_system
    options: dict[str, Any] = dict(parse_qsl(location.partition("?")[2]))
    options |= {name: options.get(name, "").lower() in ("1", "true") for name in BOOLEAN_OPTIONS}
    # Pyarrow reads these variables when it creates a file system from a URI, but not here.
    servers = (os.environ.get(f"AWS_ENDPOINT_URL{of}") for of in ("_S3", ""))
    options.setdefault("endpoint_override", next(filter(None, servers), None))
    return fs.S3FileSystem(
        **{**options, "region": file_system.region},  # type: ignore[attr-defined]
        connect_timeout=request_timeout_s,
        request_timeout=request_timeout_s,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=MAX_ATTEMPTS),
        allow_delayed_open=True,  # a small file is one request, done whole or not at all
    )


@lru_cache(maxsize=16)
def _base(location: str) -> PurePosixPath:
    return PurePosixPath(resolve_location(location)[1])


def location_of(location: str, path: str) -> str:
    """Return the location of a path in the file system of another location.

    Args:
        location: A folder.
        path: A path below it in its file system, such as Ray's ``Checkpoint.path``.

    Raises:
        ValueError: if the path is not below the location.
    """
    return join(location, *PurePosixPath(path).relative_to(_base(location)).parts)


def file_exists(folder: str, name: str) -> bool:
    """Return whether a folder has a file of this name.

    Raises:
        OSError: if the folder cannot be accessed.
    """
    return Folder(folder).has(name)


def fetch_file(folder: str, name: str, target: Path) -> None:
    """Copy a file of a folder to a local path: whole, or not at all.

    Raises:
        FileNotFoundError: if the folder has no such file.
        OSError: if the file cannot be read, or the target cannot be written.
    """
    Folder(folder).fetch(name, target)


def local_path(location: str) -> Path | None:
    """Return the path of a location on this machine, links followed; ``None`` if it is remote.

    Raises:
        OSError: if its links lead in a circle.
    """
    if is_remote(location):
        return None
    path = Path(resolve_location(location)[1])
    try:
        return path.resolve()
    except RuntimeError as error:  # before Python 3.13
        raise OSError(f"cannot follow the links of {path}: {error}") from None


def remove_folder(folder: str) -> None:
    """Delete a folder with its content, if it exists.

    Raises:
        OSError: if it cannot be deleted, or is a symbolic link.
    """
    file_system, path = resolve_location(folder)
    with _errors_in_one_line(f"cannot delete {redact(folder)}"):
        if is_remote(folder):
            file_system.delete_dir_contents(path, missing_dir_ok=True)
        elif os.path.lexists(path):
            shutil.rmtree(path)


def check_reachable(location: str, timeout_s: float = 20.0) -> None:
    """Check that a file can be written, read back and deleted at a location.

    Raises:
        OSError: if one of these fails or takes longer than ``timeout_s`` seconds; the text says
            why and what to do.
    """
    failed: list[Exception] = []

    def probe() -> None:
        try:
            _probe(
                location, request_timeout_s=min(REQUEST_TIMEOUT_S, timeout_s / (MAX_ATTEMPTS + 1))
            )
        except Exception as error:  # raised below, in the caller's thread
            failed.append(error)

    # In a thread, since not every kind of file system has a timeout.
    thread = threading.Thread(target=probe, name="storage-probe", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if thread.is_alive():
        message = f"{redact(location)} did not answer within {timeout_s:g} s"
        raise OSError(f"{message}: check its address, and the network")
    if failed:
        raise failed[0]


def _probe(location: str, request_timeout_s: float) -> None:
    name, content = f".reachable-{secrets.token_hex(8)}", secrets.token_bytes(8)
    advice = "choose a folder that you may write to"
    if is_remote(location):
        advice = "check that its bucket exists and that you may write to it, and the credentials "
        advice += "and the address in the environment"
    try:
        folder = Folder(location, request_timeout_s)
        folder.write_bytes(name, content)
        read_back = folder.read(name)
        folder.delete(name)
    except OSError as error:
        raise OSError(f"{error}: {advice}") from None
    if read_back != content:
        raise OSError(f"{redact(location)} does not return what is written to it: {advice}")


@final
class Folder:
    """The files of a folder, by their paths relative to it.

    Every method raises OSError if it fails. A file is replaced as a whole, except on HDFS.
    """

    def __init__(self, location: str, request_timeout_s: float = REQUEST_TIMEOUT_S) -> None:
        """Open a folder; nothing is requested from it yet.

        Args:
            location: A path or a URI.
            request_timeout_s: Seconds without a byte from an S3 server until a request fails.
        """
        self.location = location
        file_system, self._path = resolve_location(location)
        self._file_system = _with_timeouts(file_system, location, request_timeout_s)
        self._is_local = self._file_system.type_name == "local"
        self._has_folders = self._file_system.type_name not in ("s3", "gcs", "abfs")

    def has(self, name: str) -> bool:
        """Return whether the folder has a file of this name."""
        from pyarrow.fs import FileType

        with _errors_in_one_line(f"cannot look for {name} in {redact(self.location)}"):
            return self._file_system.get_file_info(self._at(name)).type == FileType.File

    def read(self, name: str) -> bytes:
        """Read a file.

        Raises:
            FileNotFoundError: if there is none.
        """
        with self._reading(name) as file:
            return file.read()

    def fetch(self, name: str, target: Path) -> None:
        """Copy a file to a local path: whole, or not at all.

        Raises:
            FileNotFoundError: if there is none.
        """
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
        """Write the next ``size`` bytes of ``source`` to a file, or fewer if it has fewer."""
        path = self._at(name)
        folder, last = posixpath.split(path)
        scratch = f"{folder}/.{last}.{secrets.token_hex(4)}.part" if self._is_local else path
        with _errors_in_one_line(f"cannot write {name} to {redact(self.location)}"):
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
        """Delete a file.

        Raises:
            FileNotFoundError: if there is none.
        """
        with _errors_in_one_line(f"cannot delete {name} in {redact(self.location)}"):
            self._file_system.delete_file(self._at(name))

    def sizes(self, skip: Container[str] = ()) -> dict[str, int]:
        """Return the size of every file in bytes, by name; subfolders ``skip`` are left out."""
        from pyarrow.fs import FileSelector, FileType

        with _errors_in_one_line(f"cannot list {redact(self.location)}"):
            entries = []
            for top in self._file_system.get_file_info(FileSelector(self._path, True)):
                entries.append(top)
                if top.type == FileType.Directory and top.base_name not in skip:
                    below = FileSelector(top.path, allow_not_found=True, recursive=True)
                    entries += self._file_system.get_file_info(below)
        files = (entry for entry in entries if entry.type == FileType.File)
        return {str(PurePosixPath(f.path).relative_to(self._path)): f.size for f in files}

    def _at(self, name: str) -> str:
        return posixpath.join(self._path, name)

    @contextmanager
    def _reading(self, name: str) -> Iterator[BinaryIO]:
        with (
            _errors_in_one_line(f"cannot read {name} from {redact(self.location)}"),
            self._file_system.open_input_stream(self._at(name), compression=None) as file,
        ):
            yield file


@contextmanager
def _errors_in_one_line(failure: str) -> Iterator[None]:
    """Turn every error of pyarrow into an OSError of one line that begins with ``failure``."""
    from pyarrow import ArrowException

    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{failure}: {_masked(error)}") from None
    except (OSError, ArrowException) as error:
        number = getattr(error, "errno", None)
        text = f"{failure}: {_masked(error)}"
        raise (OSError(number, text) if number is not None else OSError(text)) from None


def _masked(error: Exception) -> str:
    text = re.sub(r"^\[Errno \d+\] ", "", " ".join(str(error).split()))
    for variable, value in os.environ.items():
        if _SECRET_VARIABLES.search(variable) and len(value) >= 8:
            text = text.replace(value, "***")
    text = re.sub(r" \(Request ID: \w+\)", "", text)
    return re.sub(r"//[^/\s@]*@", "//***@", text)[:400]
