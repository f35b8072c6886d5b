"""A folder of images, decoded by many threads and kept for the next time."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from trainables.config import DataConfig
from trainables.datasets.cache import keep, recall
from trainables.datasets.errors import BadData, Note, Progress

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff")
#: Files that a message names; the rest it counts.
_NUM_NAMED = 10
#: Files that wait for a thread: a queue of all of them would take long to drop at Ctrl-C.
_FILES_AT_ONCE = 1024


def load_image_folder(
    config: DataConfig, cache_dir: Path | None, progress: Progress, note: Note
) -> UInt8[np.ndarray, "n channels side side"]:
    """Read all images below ``config.path``, in the order of their names.

    Raises:
        BadData: about ``path``, where there are none; about ``max_corrupt_share``, where too many
            of them cannot be read.
    """
    pixels, left_out = decoded(
        Path(config.path or ""),
        config.side or 32,
        config.channels or 3,
        cache_dir,
        progress,
        note,
    )
    if left_out:
        num_files, most = len(pixels) + len(left_out), config.max_corrupt_share or 0.0
        share = len(left_out) / num_files
        unread = f"{len(left_out)} of {num_files} files could not be read"
        if share > most:
            raise BadData(
                "max_corrupt_share",
                f"must be at least {share:.3g}, as {unread} ({named(left_out)}), got {most:g}: "
                "raise it, or mend or remove these files",
            )
        note(f"{unread} and are left out: {named(left_out)}")
    return pixels


def decoded(
    folder: Path, side: int, channels: int, cache_dir: Path | None, progress: Progress, note: Note
) -> tuple[UInt8[np.ndarray, "n channels side side"], list[str]]:
    """Decode the images below a folder; returns them, and the names of those that are none.

    Raises:
        BadData: about ``path``, where there is no folder, or no image file in it.
    """
    if not folder.is_dir():
        is_what = "a file" if folder.exists() else "not there"
        raise BadData("path", f"must be a folder of images, got {folder}, which is {is_what}")
    names = sorted(_image_names(folder))
    if not names:
        kinds = ", ".join(SUFFIXES)
        what = f"must have images ({kinds}) in it or below, got {folder}, which has none"
        raise BadData("path", f"{what}: name another folder")
    key = _key(folder, names, side, channels)
    if cache_dir is not None and (found := recall(cache_dir, key, note)):
        return found
    pixels, left_out = _decode_all(folder, names, side, channels, progress)
    if cache_dir is not None and len(pixels):
        keep(cache_dir, key, pixels, left_out, note)
    return pixels, left_out


def named(names: Sequence[str]) -> str:
    """List names, and stop at so many as one can read."""
    more = ", ..." if len(names) > _NUM_NAMED else ""
    return ", ".join(names[:_NUM_NAMED]) + more


def _image_names(root: Path) -> Iterator[str]:
    """Relative paths of all image files; every folder once, however many links lead to it."""
    seen = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield (Path(folder) / name).relative_to(root).as_posix()


def _key(folder: Path, names: Sequence[str], side: int, channels: int) -> str:
    """A name for what is decoded: another one as soon as a file or a setting is another."""
    import PIL

    files = []
    for name in names:
        path = folder / name
        status = path.stat() if path.exists() else None  # a link may lead nowhere
        files.append([name, *((status.st_size, status.st_mtime_ns) if status else ())])
    what = {"side": side, "channels": channels, "pillow": PIL.__version__, "files": files}
    return hashlib.blake2b(json.dumps(what).encode(), digest_size=16).hexdigest()


def _decode_all(
    folder: Path, names: Sequence[str], side: int, channels: int, progress: Progress
) -> tuple[np.ndarray, list[str]]:
    from trainables.datasets.pixels import read_pixels, strict_pillow

    pixels = np.empty((len(names), channels, side, side), np.uint8)
    left_out = []

    def read(index: int) -> bool:
        try:
            pixels[index] = read_pixels(folder / names[index], side, channels)
        except Exception:  # Pillow's decoders raise all kinds; the file is named to the user
            return False
        return True

    with strict_pillow(), ThreadPoolExecutor() as pool:
        for start in range(0, len(names), _FILES_AT_ONCE):
            indices = range(start, min(start + _FILES_AT_ONCE, len(names)))
            for index, was_read in zip(indices, pool.map(read, indices), strict=True):
                if not was_read:
                    left_out.append(names[index])
                progress(index + 1, len(names))
    if left_out:
        unread = set(left_out)
        pixels = pixels[[name not in unread for name in names]]
    return pixels, left_out
