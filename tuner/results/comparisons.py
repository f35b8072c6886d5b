"""Keep how the samples of each finalist differ from real ones, for the report.

``comparisons/NNNNN.json`` is what :func:`trainables.comparison.compare` found of a trial.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, TypeAdapter, ValidationError

from tuner.storage import write_atomically
from tuner.study import Trial

_FOLDER = "comparisons"
#: A larger file is not one that a search wrote.
_MAX_BYTES = 4_000_000
Floats = Annotated[tuple[FiniteFloat, ...], Field(max_length=400)]
Lines = Annotated[tuple[Floats, ...], Field(max_length=50)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Column(_Part):
    """A column of vectors, of real and of generated ones."""

    index: int
    distance: FiniteFloat
    edges: Floats
    real: Floats
    generated: Floats
    real_points: Floats
    generated_points: Floats


class VectorComparison(_Part):
    """What :func:`trainables.comparison.compare_vectors` returns."""

    kind: Literal["vectors"]
    num_columns: int
    columns: Annotated[tuple[Column, ...], Field(max_length=20)]
    correlations: Annotated[
        tuple[tuple[int, int, FiniteFloat, FiniteFloat], ...], Field(max_length=1000)
    ]
    positions: Annotated[tuple[int, ...], Field(max_length=400)]
    real_lines: Lines
    generated_lines: Lines


class ImageComparison(_Part):
    """What :func:`trainables.comparison.neighbours` returns."""

    kind: Literal["images"]
    picture: str
    distances: Floats


Comparison = Annotated[VectorComparison | ImageComparison, Field(discriminator="kind")]
_ADAPTER: TypeAdapter[VectorComparison | ImageComparison] = TypeAdapter(Comparison)


def write_comparison(run_dir: Path, trial: Trial, comparison: Mapping[str, Any]) -> None:
    """Write the comparison of a trial."""
    folder = run_dir / _FOLDER
    folder.mkdir(exist_ok=True)
    write_atomically(folder / f"{trial.trial_id}.json", json.dumps(comparison))


def read_comparison(run_dir: Path, trial: Trial) -> VectorComparison | ImageComparison | None:
    """Read the comparison of a trial; ``None`` if there is none, or it is not as it was written."""
    path = run_dir / _FOLDER / f"{trial.trial_id}.json"
    try:
        if path.stat().st_size > _MAX_BYTES:
            return None
        return _ADAPTER.validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
