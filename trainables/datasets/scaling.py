"""Scale the columns of vectors, and map samples back to the units of the data."""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float32, Float64, Num

from trainables.config import Scaling
from trainables.datasets.errors import BadData, Note

#: Rows converted at a time, so that not all of them are in memory as float64.
_ROWS_AT_ONCE = 1024
#: The most columns in a message.
_MAX_LISTED = 10
#: Larger numbers than these cannot be learned as they are: a new network returns numbers near 1.
_LARGEST_UNSCALED = 100.0
_DONE = {
    "standard": "each column is scaled to mean 0 and standard deviation 1",
    "min_max": "each column is mapped linearly to [-1, 1]",
    "whole": "mapped linearly, {low:g} to -1 and {high:g} to 1",
}


@final
@dataclass(frozen=True)
class Scale:
    """A map of each column to the numbers on which networks train: (x - offset) / factor."""

    offset: Float64[np.ndarray, " d"]
    factor: Float64[np.ndarray, " d"]

    def apply(self, vectors: Num[np.ndarray, "n d"]) -> Float32[np.ndarray, "n d"]:
        """Scale vectors from the data's units."""
        scaled = np.empty(vectors.shape, np.float32)
        for start in range(0, len(vectors), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            scaled[rows] = (vectors[rows].astype(np.float64) - self.offset) / self.factor
        return scaled


def fit(vectors: Num[np.ndarray, "n d"], scaling: Scaling, note: Note) -> Scale | None:
    """Compute the scale of vectors.

    Args:
        vectors: The training data of the trials, finite.
        scaling: How to scale; ``none`` gives ``None``.
        note: Called with what is done, and with the columns that are constant.

    Raises:
        BadData: with key ``scale``, if the numbers are too large for it.
    """
    low, high = (end.astype(np.float64) for end in (vectors.min(0), vectors.max(0)))
    if scaling == "none":
        largest = max(abs(low.min()), abs(high.max()))
        if largest > _LARGEST_UNSCALED:
            rule = f"must not be none for numbers above {_LARGEST_UNSCALED:g}, got {largest:g}"
            raise BadData("scale", f"{rule}: leave it out to scale each column")
        return None
    if scaling == "standard":
        offset, factor = _moments(vectors)
    else:
        if scaling == "whole":
            low, high = np.full_like(low, low.min()), np.full_like(high, high.max())
        offset, factor = low / 2 + high / 2, high / 2 - low / 2  # high - low could overflow
    if not (np.isfinite(offset).all() and np.isfinite(factor).all()):
        rule = "cannot be standard for numbers whose squares overflow"
        raise BadData("scale", f"{rule}, got {np.abs(vectors).max():g}: divide them first")
    note(f"vectors: {_DONE[scaling].format(low=low[0], high=high[0])}; samples are mapped back")
    is_constant = low == high
    if is_constant.any():
        note(f"vectors: {_listed(is_constant, low)} in the training data: nothing to learn there")
    return Scale(np.where(is_constant, low, offset), np.where(is_constant, 1.0, factor))


def _moments(
    vectors: Num[np.ndarray, "n d"],
) -> tuple[Float64[np.ndarray, " d"], Float64[np.ndarray, " d"]]:
    """Compute each column's mean and standard deviation, in two passes, as one is inexact."""
    chunks = range(0, len(vectors), _ROWS_AT_ONCE)
    rows = [slice(start, start + _ROWS_AT_ONCE) for start in chunks]
    with np.errstate(over="ignore", invalid="ignore"):
        sums = [vectors[part].sum(0, dtype=np.float64) for part in rows]
        mean = np.sum(sums, axis=0) / len(vectors)
        squares = [np.square(vectors[part].astype(np.float64) - mean).sum(0) for part in rows]
        return mean, np.sqrt(np.sum(squares, axis=0) / len(vectors))


def _listed(is_constant: np.ndarray, values: np.ndarray) -> str:
    """List columns with their one value, as "column 2 is always 7"."""
    columns = np.flatnonzero(is_constant)
    shown = [f"{column} is always {values[column]:g}" for column in columns[:_MAX_LISTED]]
    more = len(columns) - _MAX_LISTED
    named = f"column{'s' if len(columns) > 1 else ''} {', '.join(shown)}"
    return named + (f" and {more} more are constant" if more > 0 else "")
