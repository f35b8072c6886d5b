"""Load a folder of images, decoded by several threads and cached."""

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
#: The most file names in a message.
_MAX_LISTED = 10
#: Files submitted to the threads at a time: Ctrl-C has to wait for all that are queued.
_FILES_AT_ONCE = 1024


def load_image_folder(
    config: DataConfig, cache_dir: Path | None, progress: Progress, note: Note
) -> UInt8[np.ndarray, "n channels side side"]:
    """Load all images in ``config.path`` and its subfolders, sorted by path.

    Args:
        config: The folder, the side and the channels of the images, and how many may be unreadable.
        cache_dir: Where decoded images are cached; ``None`` caches none.
        progress: Called with the number of files decoded, and the number of all.
        note: Called if files are left out, or the cache cannot be used.

    Raises:
        BadData: with key ``path``, if there is no image; with key ``max_corrupt_share``, if too
            many files cannot be read.
    """
    pixels, left_out = decode(
        Path(config.path or ""),
        config.side or 32,
        config.channels or 3,
        cache_dir,
        progress,
        note,
    )
    if left_out:
        num_files, max_share = len(pixels) + len(left_out), config.max_corrupt_share or 0.0
        share = len(left_out) / num_files
        unread, names = (
            f"{len(left_out)} of {num_files} files could not be read",
            list_names(left_out),
        )
        if share > max_share:
            raise BadData(
                "max_corrupt_share",
                f"must be at least {share:.3g}, as {unread} ({names}), got {max_share:g}: "
                "raise it, or repair or remove these files",
            )
        note(f"{unread} and are left out: {names}")
    return pixels


def decode(
    folder: Path, side: int, channels: int, cache_dir: Path | None, progress: Progress, note: Note
) -> tuple[UInt8[np.ndarray, "n channels side side"], list[str]]:
    """Decode all images in a folder and its subfolders, or return them from the cache.

    Args:
        folder: The folder.
        side: Height and width of the result in pixels.
        channels: 1 for grey, 3 for colour.
        cache_dir: Where decoded images are cached; ``None`` caches none.
        progress: Called with the number of files decoded, and the number of all.
        note: Called if the cache cannot be used.

    Returns:
        The images, and the names of the files that could not be read.

    Raises:
        BadData: with key ``path``, if there is no folder, or no image file in it.
    """
    if not folder.is_dir():
        fault = "is a file" if folder.exists() else "does not exist"
        raise BadData("path", f"must be a folder of images, got {folder}, which {fault}")
    names = sorted(_image_names(folder))
    if not names:
        kinds = ", ".join(SUFFIXES)
        rule = f"must have images ({kinds}) in it or in a subfolder, got {folder}, which has none"
        raise BadData("path", f"{rule}: name another folder")
    key = _key(folder, names, side, channels)
    if cache_dir is not None and (cached := recall(cache_dir, key, note)):
        return cached
    pixels, left_out = _decode_all(folder, names, side, channels, progress)
    if cache_dir is not None and len(pixels):
        keep(cache_dir, key, pixels, left_out, note)
    return pixels, left_out


def list_names(names: Sequence[str]) -> str:
    """Join names by commas; of more than ten, list the first ten and an ellipsis."""
    more = ", ..." if len(names) > _MAX_LISTED else ""
    return ", ".join(names[:_MAX_LISTED]) + more


def _image_names(root: Path) -> Iterator[str]:
    """Yield the relative paths of all image files; visit each folder once, despite links."""
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
    """Compute the cache key, which changes with any file, setting or version of Pillow."""
    import PIL

    files = []
    for name in names:
        path = folder / name
        status = path.stat() if path.exists() else None  # the target of a link may be missing
        files.append([name, *((status.st_size, status.st_mtime_ns) if status else ())])
    content = {"side": side, "channels": channels, "pillow": PIL.__version__, "files": files}
    return hashlib.blake2b(json.dumps(content).encode(), digest_size=16).hexdigest()


def _decode_all(
    folder: Path, names: Sequence[str], side: int, channels: int, progress: Progress
) -> tuple[np.ndarray, list[str]]:
    from trainables.datasets.pixels import read_pixels, strict_pillow

    pixels = np.empty((len(names), channels, side, side), np.uint8)
    left_out = []

    def read(index: int) -> bool:
        try:
            pixels[index] = read_pixels(folder / names[index], side, channels)
        except Exception:  # Pillow's decoders raise many types; the caller reports the file
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
