"""What others leave in a search's folder for its report: seeds tried again, and MLflow's runs."""

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


@final
@dataclass(frozen=True)
class Retrained:
    """How a trial's score varied by seed."""

    trial_id: str
    generator_steps: int
    w1: tuple[float, ...]


def read_retrained(run_dir: Path) -> list[Retrained]:
    """What ``python -m tuner.train`` left; what cannot be read counts as not there."""
    found = []
    for entry in read_json(run_dir / "retrained.json", list):
        try:
            scores = tuple(float(w1) for w1 in entry["w1"] if w1 is not None)
            steps = int(entry["generator_steps"])
            one = Retrained(str(entry["trial_id"]), steps, tuple(filter(math.isfinite, scores)))
        except (KeyError, TypeError, ValueError):
            continue
        if one.w1:
            found.append(one)
    return found


RETRAINED = "retrained.json"


def retrained_entry(origin: Origin, found: Snapshot) -> dict[str, Any]:
    """What ``retrained.json`` has of a training; its lists are of the completed seeds, alike."""
    completed = [trial for trial in found.trials if trial.status == "completed"]
    return {
        "trial_id": origin.trial_id,
        "name": found.spec.name,
        "generator_steps": found.spec.asha.max_generator_steps,
        "seeds": [trial.config.seed for trial in completed],
        "w1": [trial.metrics["w1"] for trial in completed],
        "w1_final": [t.final["w1_final"] if t.final else None for t in completed],
        "not_completed": len(found.trials) - len(completed),
    }


def keep_retrained(path: Path, new: Mapping[str, Any]) -> None:
    """Add an entry, in the place of an earlier one of that name."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        others = [one for one in kept if one["name"] != new["name"]]
    except (ValueError, KeyError, TypeError) as error:
        what = f"is not as it was written ({error}): move it away, and add --resume"
        raise BadInput(str(path), [Fault("", what)]) from error
    write_atomically(path, json.dumps([*others, dict(new)], indent=2) + "\n")
