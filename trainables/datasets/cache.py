"""A cache of decoded images in files, verified by a checksum when it is read."""

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
    except OSError as error:
        note(f"the decoded images could not be cached in {folder} ({error}): continuing without")


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
