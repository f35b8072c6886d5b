"""Read ``trials.csv``.

This module imports nothing slow, since ``tuner.list`` reads the tables of many searches at a time.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

COLUMNS = (
    "trial_id",
    "status",
    "generator_steps",
    "w1",
    "w1_stderr",
    "w1_best",
    "best_rung",
    "w1_final",
    "w1_final_stderr",
    "w1_final_mean",
    "w1_final_mean_stderr",
    "final_seeds",
    "final_seeds_diverged",
    "critic_estimate",
    "training_seconds",
    "scoring_seconds",
    "final_scoring_seconds",
)
#: The columns by which trials of the final are placed; earlier versions wrote only the first.
_OF_FINAL = ("w1_final", "w1_final_mean", "final_seeds", "final_seeds_diverged")
#: The statuses of trials that have not ended.
UNDER_WAY = ("running", "waiting")
_REQUIRED = ("trial_id", "status", "generator_steps", "w1", "w1_final")


@final
@dataclass(frozen=True)
class Row:
    """A row of the table, which can be ranked like a trial of the study.

    ``status`` is ``None`` if the trial has not ended. ``score`` is the score at its best rung.
    ``final`` has what places it among the trials of the final, if it was in the final. ``cells``
    are all cells by column.
    """

    number: int
    status: str | None
    score: float | None
    final: Mapping[str, float] | None
    cells: Mapping[str, str]

    @property
    def last_w1(self) -> float | None:
        """Return the ``w1`` at the last rung."""
        return float(self.cells["w1"]) if self.cells["w1"] else None

    @property
    def seconds(self) -> float:
        """Return the seconds of training and scoring."""
        cells = (self.cells.get(key) for key in ("training_seconds", "scoring_seconds"))
        return sum(float(cell) for cell in cells if cell)

    @property
    def best_w1(self) -> float | None:
        """Return the ``w1`` at the best rung; tables of earlier versions have only the last."""
        best = self.cells.get("w1_best")
        return float(best) if best else self.last_w1


def read_trials(path: Path, metric: str = "w1") -> list[Row]:
    """Read the rows of a table, in its order.

    Args:
        path: The table.
        metric: The column that has the score.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is not a table of trials.
    """
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, restval="")
        try:
            heading, lines = reader.fieldnames or (), list(reader)
        except csv.Error as error:
            raise ValueError(str(error)) from error
    missing = [name for name in (*_REQUIRED, metric) if name not in heading]
    if missing:
        raise ValueError(f"it has no column {', '.join(missing)}")
    if any(None in line for line in lines):
        raise ValueError("a line of it has more cells than the heading")
    return [_row(line, metric) for line in lines]


def _row(line: Mapping[str, str], metric: str) -> Row:
    # Of `w1` alone the rungs of a trial compare.
    ranks_by = "w1_best" if metric == "w1" and line.get("w1_best") else metric
    return Row(
        number=int(line["trial_id"]),
        status=None if line["status"] in UNDER_WAY else line["status"],
        score=float(line[ranks_by]) if line[ranks_by] else None,
        final={key: float(line[key]) for key in _OF_FINAL if line.get(key)} or None,
        cells=line,
    )
