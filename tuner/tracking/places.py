"""Where MLflow shows the runs of a search: ``mlflow.json`` in its folder."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

from tuner.storage import read_json, write_atomically
from tuner.study import Trial
from tuner.tracking.runs import Runs
from tuner.tracking.text import address
from tuner.tracking.view import view_query

PLACES = "mlflow.json"
#: It is written again at most so often while runs are added.
PLACES_EVERY_S = 5.0
#: Where `mlflow ui` serves a database.
LOCAL_UI = "http://127.0.0.1:5000"


@final
class PlacesFile:
    """File of the ids of the runs in a search's folder, for pages that link to them."""

    def __init__(self, run_dir: Path) -> None:
        """Write nothing yet."""
        self.path = run_dir / PLACES
        self._due_s, self._num_runs = 0.0, 0

    def update(self, runs: Runs, *, is_last: bool = False) -> None:
        """Write them down if there are more, but not for each of them.

        Raises:
            OSError: where the file cannot be written; it is not tried again for the same runs.
        """
        now_s = time.monotonic()
        if runs.num_runs in (0, self._num_runs) or (not is_last and now_s < self._due_s):
            return
        self._due_s, self._num_runs = now_s + PLACES_EVERY_S, runs.num_runs
        places = {"ui": address(runs.uri) or LOCAL_UI, **runs.places()}
        write_atomically(self.path, json.dumps(places, indent=1) + "\n")


@final
@dataclass(frozen=True)
class RunLinks:
    """The addresses of the runs, for a page; empty where nothing says them."""

    ui: str | None = None
    parent: str | None = None
    runs: Mapping[str, str] | None = None
    comparison: str | None = None  # all trials, the best first

    def of(self, trial: Trial) -> str | None:
        """Give the address of a trial's run."""
        return (self.runs or {}).get(trial.trial_id)


def read_run_links(run_dir: Path) -> RunLinks:
    """Read ``mlflow.json``, tolerantly: a report without links is one all the same."""
    found = read_json(run_dir / PLACES, dict)
    ui, experiment, runs, view = map(found.get, ("ui", "experiment_id", "runs", "view"))
    # A page must not link to an address of another kind, such as javascript:.
    if not isinstance(ui, str) or not ui.startswith(("http://", "https://")):
        return RunLinks()
    base = f"{ui.rstrip('/')}/#/experiments/{experiment}/runs"
    named = runs.items() if isinstance(runs, dict) else ()
    parent = found.get("parent")
    if not isinstance(parent, str):
        parent = None
    return RunLinks(
        ui,
        parent and f"{base}/{parent}",
        {t: f"{base}/{run}" for t, run in named if run},
        parent and f"{base}?{view_query(parent, view if isinstance(view, str) else None)}",
    )
