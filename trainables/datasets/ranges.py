"""Find data that are constant, and values that make nearly all others the same number."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Num, UInt8

from trainables.datasets.errors import BadData, Note

#: Most values fill a small part of a range where this share of them lies within that part of it.
_MOST, _SMALL_PART = 0.95, 0.1
#: The most values looked at, and the most and fewest samples.
_MAX_VALUES, _MAX_SAMPLES, _MIN_SAMPLES = 2**22, 10_000, 100
#: The most columns in a message.
_MAX_LISTED = 5
_SAMPLES_AT_ONCE = 1024


def refuse_equal(samples: Num[np.ndarray, "n *sample"], key: str) -> None:
    """Refuse data in which all samples are the same.

    Args:
        samples: All samples.
        key: The key of the section ``data`` that the error names.

    Raises:
        BadData: if no sample differs from the first.
    """
    for start in range(0, len(samples), _SAMPLES_AT_ONCE):
        if (samples[start : start + _SAMPLES_AT_ONCE] != samples[:1]).any():
            return
    rule = f"must hold samples that differ, got {len(samples)} equal ones"
    raise BadData(key, f"{rule}: there is no distribution to learn")


def note_dark(images: UInt8[np.ndarray, "n *image"], note: Note) -> None:
    """Note images whose bytes fill a small part of 0 to 255, as 12 bits in 16-bit files do."""
    some = _some(images)
    low, high = float(some.min()), float(some.max())
    is_small = high - low <= _SMALL_PART * 255  # as in masks that hold the numbers of classes
    part = (low, high) if is_small else _where_most_are(some.ravel(), 0.0, 255.0)
    if part is not None:
        note(
            f"most pixels lie between {part[0]:g} and {part[1]:g}, of 0 to 255, so that the images "
            "are nearly uniform: rescale files that use a part of their range, as 12 bits in 16 do"
        )


def note_outliers(samples: Num[np.ndarray, "n *sample"], name: str, note: Note) -> None:
    """Note an extreme value of an array that squeezes most others into a small part of the range.

    Args:
        samples: The array, as in the file; all of it has one range.
        name: The name of the file.
        note: Called with the value and its index.
    """
    low, high = float(samples.min()), float(samples.max())
    part = _where_most_are(_some(samples).ravel(), low, high)
    if part is not None:
        is_high = high - part[1] > part[0] - low
        flat = int(samples.argmax() if is_high else samples.argmin())
        index = [int(axis) for axis in np.unravel_index(flat, samples.shape)]
        note(f"{name}: {_outlier(part, high if is_high else low, f'at {index}')}")


def note_outliers_by_column(vectors: Num[np.ndarray, "n d"], name: str, note: Note) -> None:
    """Note each column with an extreme value, as :func:`note_outliers` does for a whole array."""
    faults = list(_column_faults(vectors))
    for fault in faults[:_MAX_LISTED]:
        note(f"{name}: {fault}")
    if len(faults) > _MAX_LISTED:
        note(f"{name}: likewise in {len(faults) - _MAX_LISTED} more columns")


def _column_faults(vectors: Num[np.ndarray, "n d"]) -> Iterator[str]:
    lows, highs = (end.astype(np.float64).tolist() for end in (vectors.min(0), vectors.max(0)))
    some = _some(vectors)
    for column, (low, high) in enumerate(zip(lows, highs, strict=True)):
        part = _where_most_are(some[:, column], low, high)
        if part is not None:
            is_high = high - part[1] > part[0] - low
            values = vectors[:, column]
            row = int(values.argmax() if is_high else values.argmin())
            extreme = high if is_high else low
            yield f"column {column}: {_outlier(part, extreme, f'in row {row}')}"


def _outlier(part: tuple[float, float], extreme: float, place: str) -> str:
    return (
        f"most values lie between {part[0]:g} and {part[1]:g}, but there is {extreme:g} {place}: "
        "if it stands for a missing value, remove it"
    )


def _some(samples: Num[np.ndarray, "n *sample"]) -> np.ndarray:
    """Return samples from everywhere in the array, few enough to be sorted in a second."""
    size = max(1, samples[0].size)
    num = min(_MAX_SAMPLES, max(_MIN_SAMPLES, _MAX_VALUES // size))
    return np.asarray(samples[:: max(1, len(samples) // num)])


def _where_most_are(values: np.ndarray, low: float, high: float) -> tuple[float, float] | None:
    """Return where most values lie, if that is a small part of the range from low to high.

    The commonest value does not count: it may be a background, or stand for missing values.
    """
    distinct, counts = np.unique(values, return_counts=True)
    others = np.repeat(np.delete(distinct, counts.argmax()), np.delete(counts, counts.argmax()))
    if len(distinct) < 4:  # two classes, or a mask
        return None
    tail = (1 - _MOST) / 2
    start, end = np.quantile(others.astype(np.float64), [tail, 1 - tail])
    # Halves, as the range of float64 could overflow.
    is_small = end / 2 - start / 2 <= _SMALL_PART * (high / 2 - low / 2)
    return (float(start), float(end)) if is_small else None
