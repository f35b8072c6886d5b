"""Read and write ``retrained.json``, the scores of a trial that was retrained with other seeds."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from tuner.errors import BadInput, Fault
from tuner.results import Snapshot
from tuner.retrain.origin import Origin
from tuner.storage import read_json, write_atomically

RETRAINED = "retrained.json"


@final
@dataclass(frozen=True)
class Retrained:
    """The scores ``w1`` of a trial's configuration with other seeds, at one generator step."""

    trial_id: str
    generator_steps: int
    w1: tuple[float, ...]


def read_retrained(run_dir: Path) -> list[Retrained]:
    """Read the entries that ``python -m tuner.train`` wrote; skip those that cannot be read."""
    entries = []
    for fields in read_json(run_dir / RETRAINED, list):
        try:
            scores = tuple(float(w1) for w1 in fields["w1"] if w1 is not None)
            steps = int(fields["generator_steps"])
            entry = Retrained(str(fields["trial_id"]), steps, tuple(filter(math.isfinite, scores)))
        except (KeyError, TypeError, ValueError):
            continue
        if entry.w1:
            entries.append(entry)
    return entries


def retrained_entry(origin: Origin, training: Snapshot) -> dict[str, Any]:
    """Return the entry of ``retrained.json`` for a training.

    Its lists have one element per completed seed, in the same order. ``w1`` is at the last rung; of
    a training as long as the search's it is at the rung that ranked the trial there.
    """
    steps = training.spec.asha.max_generator_steps
    if steps == origin.config.max_generator_steps and origin.ranked_at in training.spec.asha.rungs:
        steps = origin.ranked_at
    completed = [trial for trial in training.trials if trial.status == "completed"]
    return {
        "trial_id": origin.trial_id,
        "name": training.spec.name,
        "generator_steps": steps,
        "seeds": [trial.config.seed for trial in completed],
        "w1": [training.reports[trial.number][steps]["w1"] for trial in completed],
        "w1_final": [t.final["w1_final"] if t.final else None for t in completed],
        "not_completed": len(training.trials) - len(completed),
    }


def add_retrained(path: Path, new: Mapping[str, Any]) -> None:
    """Add an entry to ``retrained.json``, or replace the one of the same name.

    Raises:
        BadInput: if the file is not valid.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        others = [entry for entry in entries if entry["name"] != new["name"]]
    except (ValueError, KeyError, TypeError) as error:
        message = f"is damaged ({error}): move it away, then run the same command with --resume"
        raise BadInput(str(path), [Fault("", message)]) from error
    write_atomically(path, json.dumps([*others, dict(new)], indent=2) + "\n")
