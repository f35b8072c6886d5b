"""Where MLflow shows the runs of a search."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

from tuner.storage import read_json
from tuner.study import Trial


@final
@dataclass(frozen=True)
class RunLinks:
    """Where MLflow shows the runs; empty where nothing says so."""

    ui: str | None = None
    parent: str | None = None
    runs: Mapping[str, str] | None = None

    def of(self, trial: Trial) -> str | None:
        """The address of a trial's run."""
        return (self.runs or {}).get(trial.trial_id)


def read_run_links(run_dir: Path) -> RunLinks:
    """Read ``mlflow.json``, tolerantly: a report without links is one all the same."""
    found = read_json(run_dir / "mlflow.json", dict)
    ui, experiment, runs = (found.get(key) for key in ("ui", "experiment_id", "runs"))
    # An address of another kind, such as javascript:, is no place to send anybody.
    if not isinstance(ui, str) or not ui.startswith(("http://", "https://")):
        return RunLinks()
    base = f"{ui.rstrip('/')}/#/experiments/{experiment}/runs"
    named = runs.items() if isinstance(runs, dict) else ()
    parent = found.get("parent")
    return RunLinks(
        ui, parent and f"{base}/{parent}", {t: f"{base}/{run}" for t, run in named if run}
    )
