"""A cache of decoded images in files, verified by a checksum when it is read.

It keeps the images that were used last: those of a former state of a folder, or of another size,
go in time.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import UInt8

from trainables.datasets.errors import Note

#: The most entries that the cache keeps, those that were used last.
MAX_ENTRIES = 8
Pixels = UInt8[np.ndarray, "n channels side side"]


def recall(
    folder: Path, key: str, note: Note
) -> tuple[UInt8[np.ndarray, "n channels side side"], list[str]] | None:
    """Return images that :func:`keep` stored, memory-mapped, and the names of files left out.

    Returns ``None`` if nothing is stored under the key, or, with a note, if it is damaged.
    """
    meta_path, pixels_path = folder / f"{key}.json", folder / f"{key}.npy"
    if not meta_path.exists():
        return None
    try:
        meta = json.loads(meta_path.read_text())
        pixels = np.load(pixels_path, mmap_mode="r", allow_pickle=False)
        if list(pixels.shape) == meta["shape"] and _checksum(pixels) == meta["checksum"]:
            with suppress(OSError):  # a folder that may only be read
                meta_path.touch()
            return pixels, meta["left_out"]
        reason = "their checksum is wrong"
    except (OSError, ValueError, LookupError, TypeError, EOFError) as error:
        reason = str(error)
    note(f"the cached images in {pixels_path} cannot be used ({reason}): decoding again")
    return None


def keep(folder: Path, key: str, pixels: Pixels, left_out: list[str], note: Note) -> None:
    """Store decoded images; a full or read-only disk causes a note and no error."""
    meta = {"checksum": _checksum(pixels), "shape": pixels.shape, "left_out": left_out}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / f"{key}.npy", lambda file: np.save(file, pixels))
        _write(folder / f"{key}.json", lambda file: file.write(json.dumps(meta).encode()))
        _forget_oldest(folder)
    except OSError as error:
        note(f"the decoded images could not be cached in {folder} ({error}): continuing without")


def _forget_oldest(folder: Path) -> None:
    """Delete the entries that were not used for the longest; a process that uses one keeps it."""
    entries = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for meta_path in entries[MAX_ENTRIES:]:
        for path in (meta_path, meta_path.with_suffix(".npy")):
            path.unlink(missing_ok=True)


def _write(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file atomically: it exists whole or not at all."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
        try:
            write(file)
            file.flush()
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink()
            raise


def _checksum(pixels: Pixels) -> str:
    return hashlib.blake2b(np.ascontiguousarray(pixels).data).hexdigest()
