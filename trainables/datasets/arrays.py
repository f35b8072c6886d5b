"""Load images or vectors from a NumPy file."""

import difflib
import math
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Num

from trainables.config import DataConfig
from trainables.datasets.errors import BadData, Note
from trainables.datasets.ranges import note_outliers, note_outliers_by_column

#: Samples converted at a time, so that not all of them are in memory as float64.
_ROWS_AT_ONCE = 1024
#: Numbers of axes that an array of samples may have: [n, d] to [n, height, width, channels].
_NUM_AXES = (2, 3, 4)
_SHAPES = "[n, height, width], [n, height, width, 1 or 3], [n, 1 or 3, height, width] or [n, d]"


def load_array(config: DataConfig, note: Note) -> Num[np.ndarray, "n *sample"]:
    """Read the array at ``config.path``: images [n, C, H, W], or vectors [n, d].

    Images of bytes are returned as bytes. Floats of images in [-1, 1] with at least one below 0 are
    returned as float32. All other numbers of images are mapped linearly, the array's smallest to -1
    and its largest to 1. Vectors are returned as they are in the file: they are scaled by the part
    of them on which the trials train.

    Args:
        config: Its ``path`` is an .npy or .npz file, its ``array_name`` an array of the latter, and
            ``kind`` says what the samples are where their shape does not.
        note: Called where numbers are mapped or an array is chosen, and about extreme values.

    Raises:
        BadData: with key ``path`` or another at fault, if there is no such file or array, or it
            holds no usable samples.
    """
    path = Path(config.path or "")
    array = _read(path, config.array_name, note)
    samples = _as_samples(array, config, path, note)
    if 0 in samples.shape:
        raise BadData("path", f"must hold samples, got {path} of shape {samples.shape}: fill it")
    low, high = samples.min(), samples.max()
    # The minimum and the maximum of an array with a NaN are NaN.
    if not (np.isfinite(low) and np.isfinite(high)):
        raise BadData("path", _not_finite(array, path))
    if low == high:
        rule = f"must hold samples that differ, got {path} whose numbers are all {low}"
        raise BadData("path", f"{rule}: name another file")
    if samples.ndim == 2:
        note_outliers_by_column(samples, str(path), note)
        return samples
    if config.scale is not None:
        rule = f"applies only to vectors, and {path} holds images of shape {samples.shape[1:]}"
        raise BadData("scale", f"{rule}: leave it out, or set data.kind to vectors")
    if samples.dtype == np.uint8:
        return samples
    note_outliers(array, str(path), note)
    if samples.dtype.kind == "f" and -1 <= low < 0 and high <= 1:
        return samples.astype(np.float32, copy=False)
    note(f"{path}: mapped linearly, {low:g} to -1 and {high:g} to 1")
    return _map_to_range(samples, float(low), float(high))


def _read(path: Path, name: str | None, note: Note) -> np.ndarray:
    """Read the array of the file, or the one that is named; memory-mapped where possible."""
    if not path.is_file():
        fault = "is a folder" if path.is_dir() else "does not exist"
        raise BadData("path", f"must be an .npy or .npz file, got {path}, which {fault}")
    try:
        with path.open("rb") as file:  # NumPy would leave a truncated file open
            if file.read(2) == b"PK":  # the first bytes of every zip file
                chosen = _choose(path, name, note)
                file.seek(0)
                with np.load(file, allow_pickle=False) as arrays:
                    return arrays[chosen]
        if name is not None:
            rule = f"applies only to .npz files, and {path} holds one array without a name"
            raise BadData("array_name", f"{rule}: leave array_name out")
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except BadData:
        raise
    # NumPy raises these for a file that is truncated, of another format, or of objects.
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        rule = f"must be a whole .npy or .npz file of numbers, got {path} ({_reason(error)})"
        raise BadData("path", f"{rule}: {_way_out(path)}") from error


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    # NumPy takes every unknown file for a pickled one, and suggests to run the code in it.
    return "it holds other data" if "pickle" in text.lower() else text


def _way_out(path: Path) -> str:
    if path.suffix.lower() in (".csv", ".tsv", ".txt"):
        separator = ", delimiter=','" if path.suffix.lower() == ".csv" else ""
        return f"convert it, as by numpy.save('samples.npy', numpy.loadtxt('{path}'{separator}))"
    return "save the samples with numpy.save"


def _choose(path: Path, name: str | None, note: Note) -> str:
    shapes = _shapes(path)
    listed = ", ".join(f"{key} {list(shape)}" for key, shape in shapes.items()) or "none"
    if name is not None:
        if name in shapes:
            return name
        close = difflib.get_close_matches(name, shapes, 1)
        hint = f": did you mean {close[0]}?" if close else ": name one of them"
        raise BadData("array_name", f"must be an array of {path} ({listed}), got {name}{hint}")
    possible = [key for key, shape in shapes.items() if len(shape) in _NUM_AXES]
    if len(possible) == 1:
        if len(shapes) > 1:
            note(f"{path}: uses the array {possible[0]}, the only one that can be samples")
        return possible[0]
    if not possible:
        raise BadData("path", f"must hold an array {_SHAPES}, got {path} ({listed}): reshape one")
    rule = f"is required, as {path} has several arrays ({listed}): name one of them"
    raise BadData("array_name", rule)


def _shapes(path: Path) -> Mapping[str, tuple[int, ...]]:
    """Read the arrays' shapes by name, from their headers alone: the file may be large."""
    shapes = {}
    with zipfile.ZipFile(path) as file:
        for member in file.namelist():
            with file.open(member) as content:
                if np.lib.format.read_magic(content) == (1, 0):
                    shape, *_ = np.lib.format.read_array_header_1_0(content)
                else:
                    shape, *_ = np.lib.format.read_array_header_2_0(content)
            shapes[member.removesuffix(".npy")] = shape
    return shapes


def _as_samples(
    array: np.ndarray, config: DataConfig, path: Path, note: Note
) -> Num[np.ndarray, "n *sample"]:
    """View an array as vectors [n, d] or images [n, C, H, W], by its shape and ``data.kind``."""
    if array.dtype.kind not in "buif":
        rule = f"must hold integers or real numbers, got {path} of {array.dtype}"
        raise BadData("path", f"{rule}: convert them")
    kind = config.kind
    if kind == "vectors" and array.ndim >= 2:
        return array.reshape(len(array), math.prod(array.shape[1:]))
    if array.ndim == 2 and kind is None:
        return array
    if array.ndim == 3 and kind is None:
        if array.shape[1] != array.shape[2]:
            raise BadData("kind", _ambiguous(array.shape, path))
        note(
            f"{path}: read as {len(array)} grey images of {array.shape[1]} x {array.shape[2]} "
            "pixels; data.kind: vectors reads each as one vector"
        )
    if array.ndim == 3:
        return array[:, None]
    if array.ndim == 4 and array.shape[3] in (1, 3):
        return np.moveaxis(array, 3, 1)
    if array.ndim == 4 and array.shape[1] in (1, 3):
        return array
    shapes = _SHAPES if kind is None else _SHAPES.removesuffix(" or [n, d]")
    way_out = "reshape it" if kind is None else "reshape it, or leave data.kind out"
    raise BadData("path", f"must be {shapes}, got {path} of shape {array.shape}: {way_out}")


def _ambiguous(shape: tuple[int, ...], path: Path) -> str:
    num, first, second = shape
    return (
        f"is required for {path} of shape {shape}: write images, if these are grey images of "
        f"height {first} and width {second}, or vectors, if they are {num} series or tables, to "
        f"train on each as one vector of {first * second} numbers"
    )


def _not_finite(array: np.ndarray, path: Path) -> str:
    """Name the first number that is NaN or infinite, and count them."""
    num, first = 0, ""
    for start in range(0, len(array), _ROWS_AT_ONCE):
        indices = np.argwhere(~np.isfinite(array[start : start + _ROWS_AT_ONCE]))
        if num == 0 and len(indices):
            index = [start + int(indices[0][0]), *map(int, indices[0][1:])]
            first = f"{array[tuple(index)]:g} at {index}"
        num += len(indices)
    fault = first if num == 1 else f"{num:,} that are NaN or inf, the first {first}"
    return f"must hold finite numbers, got {path} with {fault}: remove them"


def _map_to_range(samples: np.ndarray, low: float, high: float) -> Float32[np.ndarray, "n *sample"]:
    mapped = np.empty(samples.shape, np.float32)
    centre, half = low / 2 + high / 2, high / 2 - low / 2  # high - low could overflow
    for start in range(0, len(samples), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        mapped[rows] = (samples[rows].astype(np.float64) - centre) / half
    return mapped
