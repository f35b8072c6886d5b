"""Load a folder of images, decoded by several threads and cached."""

import hashlib
import json
import os
import stat
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from trainables.config import DataConfig
from trainables.datasets.cache import keep, recall
from trainables.datasets.errors import BadData, Note, Progress

#: The most file names in a message.
_MAX_LISTED = 10
#: The most characters of the reason why a file cannot be read.
_MAX_REASON_CHARS = 60
#: Files submitted to the threads at a time: Ctrl-C has to wait for all that are queued.
_FILES_AT_ONCE = 1024
#: Where the kernel shows itself as files, among them links to all folders of all processes.
_KERNEL_FOLDERS = ("/proc", "/sys")


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
        if not len(pixels):
            raise BadData("path", f"must have images that can be read: {unread} ({names})")
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
        note: Called if the cache cannot be used, or files are left out that are no images.

    Returns:
        The images, and the names of the image files that could not be read, each with the reason.

    Raises:
        BadData: with key ``path``, if there is no folder, or no image file in it.
    """
    if not folder.is_dir():
        fault = "is a file" if folder.exists() else "does not exist"
        raise BadData("path", f"must be a folder of images, got {folder}, which {fault}")
    kernel_devices = _kernel_devices()
    if folder.stat().st_dev in kernel_devices:
        raise BadData(
            "path", f"must be a folder of images, got {folder}, which the kernel makes up"
        )
    listing = _list(folder, kernel_devices)
    if not listing.images:
        rule = "must have images (.jpg, .png, .tif or of another suffix that Pillow reads) in it"
        left_out = f" ({listing.left_out_text()})" if listing.left_out else ""
        fault = f"or in a subfolder, got {folder}, which has none{left_out}"
        raise BadData("path", f"{rule} {fault}: name another folder")
    if listing.left_out:
        note(f"{folder}: left out, as no images: {listing.left_out_text()}")
    names = listing.images
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


@dataclass(frozen=True)
class _Listing:
    """The files in a folder and its subfolders, without hidden ones.

    Attributes:
        images: The relative paths of the image files, sorted.
        left_out: The numbers of all else, by kind, such as ".txt".
    """

    images: list[str]
    left_out: Mapping[str, int]

    def left_out_text(self) -> str:
        """Count what is left out, the commonest kinds first."""
        kinds = sorted(self.left_out.items(), key=lambda item: (-item[1], item[0]))
        return list_names([f"{num:,} {kind}" for kind, num in kinds])


def _list(root: Path, kernel_devices: Collection[int]) -> _Listing:
    """List the files; visit each folder once, despite links, and none that the kernel makes up."""
    from trainables.datasets.pixels import suffixes

    images, left_out, seen = [], Counter[str](), set()

    def unreadable(error: OSError) -> None:
        left_out["folder that cannot be read"] += 1

    for folder, folders, files in os.walk(root, onerror=unreadable, followlinks=True):
        try:
            status = Path(folder).stat()
        except OSError as error:  # it has just been removed
            unreadable(error)
            folders.clear()
            continue
        if (status.st_dev, status.st_ino) in seen or status.st_dev in kernel_devices:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            if name.startswith("."):
                continue
            path = Path(folder) / name
            if path.suffix.lower() not in suffixes():
                left_out[path.suffix.lower() or "without a suffix"] += 1
            elif _is_special(path):
                left_out["pipe, socket or device"] += 1
            else:
                images.append(path.relative_to(root).as_posix())
    return _Listing(sorted(images), left_out)


def _is_special(path: Path) -> bool:
    """Tell whether opening a path may wait for ever, as that of a pipe does."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:  # the target of a link is missing: it counts as an image that cannot be read
        return False


def _kernel_devices() -> set[int]:
    folders = [Path(name) for name in _KERNEL_FOLDERS]
    return {folder.stat().st_dev for folder in folders if folder.is_dir()} - {
        Path("/").stat().st_dev
    }


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
    faults: dict[str, str] = {}

    def read(index: int) -> str | None:
        try:
            pixels[index] = read_pixels(folder / names[index], side, channels)
        except Exception as error:  # Pillow's decoders raise many types; the caller reports them
            return _reason(error)
        return None

    with strict_pillow(), ThreadPoolExecutor() as pool:
        for start in range(0, len(names), _FILES_AT_ONCE):
            indices = range(start, min(start + _FILES_AT_ONCE, len(names)))
            for index, fault in zip(indices, pool.map(read, indices), strict=True):
                if fault is not None:
                    faults[names[index]] = fault
                progress(index + 1, len(names))
    if faults:
        pixels = pixels[[name not in faults for name in names]]
    return pixels, [f"{name}: {fault}" for name, fault in faults.items()]


def _reason(error: Exception) -> str:
    """Say in a few words why a file could not be read."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "not an image"  # its own text repeats the path
    text = " ".join((getattr(error, "strerror", None) or str(error)).split())
    text = text or type(error).__name__
    return text if len(text) <= _MAX_REASON_CHARS else f"{text[: _MAX_REASON_CHARS - 3]}..."
