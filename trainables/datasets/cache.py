"""Decoded images kept for the next time, and checked then."""

import hashlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import UInt8

from trainables.datasets.errors import Note

Pixels = UInt8[np.ndarray, "n channels side side"]


def recall(
    folder: Path, key: str, note: Note
) -> tuple[UInt8[np.ndarray, "n channels side side"], list[str]] | None:
    """Find images that :func:`keep` kept, mapped from their file, and the names left out.

    ``None`` where there are none; and, with a note, where they are not what was kept.
    """
    about, pixels = folder / f"{key}.json", folder / f"{key}.npy"
    if not about.exists():
        return None
    try:
        kept = json.loads(about.read_text())
        found = np.load(pixels, mmap_mode="r", allow_pickle=False)
        if list(found.shape) == kept["shape"] and _checksum(found) == kept["checksum"]:
            return found, kept["left_out"]
        reason = "they have changed since"
    except (OSError, ValueError, LookupError, TypeError, EOFError) as error:
        reason = str(error)
    note(f"the decoded images in {pixels} cannot be used ({reason}): they are decoded anew")
    return None


def keep(folder: Path, key: str, pixels: Pixels, left_out: list[str], note: Note) -> None:
    """Keep decoded images; a disk that is full, or may not be written, is only a note."""
    about = {"checksum": _checksum(pixels), "shape": pixels.shape, "left_out": left_out}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / f"{key}.npy", lambda file: np.save(file, pixels))
        _write(folder / f"{key}.json", lambda file: file.write(json.dumps(about).encode()))
    except OSError as error:
        note(f"the decoded images could not be kept in {folder} ({error}): the next run decodes")


def _write(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file so that it is there whole or not at all."""
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
