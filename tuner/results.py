"""What a search leaves for people: ``trials.csv``, ``best.yaml`` and ``best/``."""

import csv
import io
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from trainables.config import NetworkConfig, TrainingConfig
from tuner.study import Trial

COLUMNS = (
    "trial_id",
    "status",
    "generator_steps",
    "w1",
    "critic_estimate",
    "training_seconds",
    "scoring_seconds",
)
HYPERPARAMETERS = (*TrainingConfig.model_fields, *NetworkConfig.model_fields)


def write_atomically(path: Path, text: str) -> None:
    """Replace a file as a whole: a reader, or a crash, finds the old one or the new one."""
    scratch = path.with_name(f".{path.name}.tmp")
    with scratch.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)


def hyperparameters(trial: Trial) -> dict[str, Any]:
    """The values that apply to a trial, by the names that a search space gives them."""
    values = trial.config.training.model_dump() | trial.config.networks.model_dump()
    return {k: v for k, v in values.items() if v is not None} | {"seed": trial.config.seed}


def write_trials(path: Path, trials: Sequence[Trial]) -> None:
    """Write one row a trial, by number; a trial that has not ended is ``running``."""
    out = io.StringIO()
    names = (*COLUMNS, *HYPERPARAMETERS, "seed", "message")
    writer = csv.DictWriter(out, names, restval="", lineterminator="\n")
    writer.writeheader()
    for trial in trials:
        row = {name: trial.metrics.get(name, "") for name in COLUMNS}
        row |= {"trial_id": trial.trial_id, "status": trial.status or "running"}
        row |= {"generator_steps": trial.generator_steps, "message": trial.message or ""}
        row |= {"w1": "" if trial.w1 is None else trial.w1}
        writer.writerow(row | hyperparameters(trial))
    write_atomically(path, out.getvalue())


def best(trials: Iterable[Trial]) -> Trial | None:
    """The completed trial of the lowest ``w1``; of equal ones, the first; ``None`` of none."""
    scored = ((t.w1, t.number, t) for t in trials if t.status == "completed" and t.w1 is not None)
    return min(scored, default=(None, None, None))[2]


def write_best(run_dir: Path, trial: Trial) -> None:
    """Write ``best/`` from the trial's last checkpoint, then ``best.yaml``.

    Raises:
        FileNotFoundError: where the checkpoint is gone, and ``best/`` is not this trial's.
    """
    text = yaml.safe_dump(trial.config.model_dump(mode="json", exclude_none=True), sort_keys=False)
    title = f"# trial {trial.trial_id}: w1 {trial.w1:.6g} at generator step {trial.generator_steps}"
    path, folder = run_dir / "best.yaml", run_dir / "best"
    if path.exists() and path.read_text(encoding="utf-8") == f"{title}\n{text}":
        return  # written last, so the rest is there
    if trial.checkpoint is None:
        raise FileNotFoundError(f"trial {trial.trial_id} left no checkpoint")
    folder.mkdir(exist_ok=True)
    for name in ("generator.pt", "samples.png"):
        scratch = folder / f".{name}.tmp"
        shutil.copyfile(Path(trial.checkpoint) / name, scratch)
        scratch.replace(folder / name)
    write_atomically(path, f"{title}\n{text}")
