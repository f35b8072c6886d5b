"""The table of a search's trials, trials.csv."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainables.config import NetworkConfig, TrainingConfig
from tuner.results.rows import COLUMNS
from tuner.space import flat
from tuner.storage import write_atomically
from tuner.study import Trial

HYPERPARAMETERS = tuple(
    field
    for field in (*TrainingConfig.model_fields, *NetworkConfig.model_fields)
    if not field.endswith("_args")  # a column for each of them
)


def hyperparameters(trial: Trial) -> dict[str, Any]:
    """The values that apply to a trial, by the names that a search space gives them."""
    applied = trial.config.applied()
    both = {**applied["training"], **applied["networks"]}
    return {**dict(flat(both.items())), "seed": trial.config.seed}


def write_trials(path: Path, trials: Sequence[Trial]) -> None:
    """Write one row a trial, by number; a trial that has not ended is ``running``.

    A hyperparameter has a column where it applies to any of the trials.
    """
    out = io.StringIO()
    given = [hyperparameters(trial) for trial in trials]
    there = {name for values in given for name in values}
    known = [name for name in HYPERPARAMETERS if name in there]
    # Of a network of one's own, which takes what its author likes.
    arguments = sorted(name for name in there if "." in name)
    names = (*COLUMNS, *known, *arguments, "seed", "message")
    writer = csv.DictWriter(out, names, restval="", lineterminator="\n")
    writer.writeheader()
    for trial, values in zip(trials, given, strict=True):
        reported = {**trial.metrics, **(trial.final or {})}
        row = {name: reported.get(name, "") for name in COLUMNS}
        row |= {"trial_id": trial.trial_id, "status": trial.status or "running"}
        row |= {"generator_steps": trial.generator_steps, "message": trial.message or ""}
        writer.writerow(row | values)
    write_atomically(path, out.getvalue())
