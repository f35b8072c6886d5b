"""What others leave in a search's folder for its report: seeds tried again, and MLflow's runs."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from tuner.study.study import Trial


@final
@dataclass(frozen=True)
class Retrained:
    """How a trial's score varied by seed."""

    trial_id: str
    generator_steps: int
    w1: tuple[float, ...]


def retrained(run_dir: Path) -> list[Retrained]:
    """What ``python -m tuner.train`` left; what cannot be read counts as not there."""
    found = []
    for entry in _json(run_dir / "retrained.json", list):
        try:
            scores = tuple(float(w1) for w1 in entry["w1"] if w1 is not None)
            steps = int(entry["generator_steps"])
            one = Retrained(str(entry["trial_id"]), steps, tuple(filter(math.isfinite, scores)))
        except (KeyError, TypeError, ValueError):
            continue
        if one.w1:
            found.append(one)
    return found


@final
@dataclass(frozen=True)
class Links:
    """Where MLflow shows the runs; empty where nothing says so."""

    ui: str | None = None
    parent: str | None = None
    runs: Mapping[str, str] | None = None

    def of(self, trial: Trial) -> str | None:
        """The address of a trial's run."""
        return (self.runs or {}).get(trial.trial_id)


def links(run_dir: Path) -> Links:
    """Read ``mlflow.json``, tolerantly: a report without links is one all the same."""
    found = _json(run_dir / "mlflow.json", dict)
    ui, experiment, runs = (found.get(key) for key in ("ui", "experiment_id", "runs"))
    # An address of another kind, such as javascript:, is no place to send anybody.
    if not isinstance(ui, str) or not ui.startswith(("http://", "https://")):
        return Links()
    base = f"{ui.rstrip('/')}/#/experiments/{experiment}/runs"
    named = runs.items() if isinstance(runs, dict) else ()
    parent = found.get("parent")
    return Links(ui, parent and f"{base}/{parent}", {t: f"{base}/{run}" for t, run in named if run})


def _json(path: Path, kind: type) -> Any:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return kind()
    return found if isinstance(found, kind) else kind()
