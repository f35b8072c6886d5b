"""Write the table of a search's trials, trials.csv."""

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
    if not field.endswith("_args")  # each argument has a column of its own
)


def hyperparameters(trial: Trial) -> dict[str, Any]:
    """Return the hyperparameters that apply to a trial, by their keys in the search space."""
    applied = trial.config.applied()
    values = {**applied["training"], **applied["networks"]}
    return {**dict(flat(values.items())), "seed": trial.config.seed}


def write_trials(path: Path, trials: Sequence[Trial]) -> None:
    """Write one row per trial; the status of one that has not ended is ``running`` or ``waiting``.

    A hyperparameter has a column if it applies to at least one trial.
    """
    out = io.StringIO()
    values_by_trial = [hyperparameters(trial) for trial in trials]
    used = {name for values in values_by_trial for name in values}
    built_in = [name for name in HYPERPARAMETERS if name in used]
    # Arguments of a custom network, such as generator_args.width.
    arguments = sorted(name for name in used if "." in name)
    columns = (*COLUMNS, *built_in, *arguments, "seed", "message")
    writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for trial, values in zip(trials, values_by_trial, strict=True):
        reported = {**trial.metrics, **(trial.final or {})}
        row = {name: reported.get(name, "") for name in COLUMNS}
        row |= {"trial_id": trial.trial_id, "status": trial.shown_status}
        row |= {"generator_steps": trial.generator_steps, "message": trial.message or ""}
        best = {"w1_best": trial.w1, "best_rung": trial.best_rung}
        row |= {name: value for name, value in best.items() if value is not None}
        writer.writerow(row | values)
    write_atomically(path, out.getvalue())
