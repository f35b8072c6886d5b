"""Searches as a user starts them, and what they leave."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

_started: list[subprocess.Popen[str]] = []
#: Columns that hold wall time, the only ones that may differ between two equal searches.
TIMES = {"training_seconds", "scoring_seconds", "final_scoring_seconds"}


def start(
    space: Path, *options: str, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start the command in the folder of its search space."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tuner.search", str(space), *options],
        cwd=space.parent,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "COLUMNS": "200", **(environment or {})},
    )
    _started.append(process)
    return process


def end_all() -> None:
    """End what a failed test left, and Ray with it: it would be in the way of the next."""
    for process in _started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    _started.clear()


def run(
    space: Path, *options: str, environment: Mapping[str, str] | None = None
) -> tuple[int, str, str]:
    """Run the command to its end: exit status, output, errors."""
    process = start(space, *options, environment=environment)
    out, err = process.communicate(timeout=250)
    return process.returncode, out, err


def rows(run_dir: Path) -> list[dict[str, str]]:
    """The table of the trials."""
    with (run_dir / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def without_times(table: list[dict[str, str]]) -> list[dict[str, str]]:
    """All that must be the same in two equal searches."""
    return [{k: v for k, v in row.items() if k not in TIMES} for row in table]


def reports(run_dir: Path) -> list[dict[str, float]]:
    """All that was reported so far, whole lines only."""
    path = run_dir / "metrics.jsonl"
    raw = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in raw.splitlines(keepends=True) if line.endswith("\n")]


def wait_for_reports(process: subprocess.Popen[str], run_dir: Path, count: int) -> None:
    """Wait until so many reports were heard; the search must not end before."""
    while len(reports(run_dir)) < count:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def best_in_mlflow(database: Path) -> tuple[str, float]:
    """The trial that the one search of a database chose, and its score by the final."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{database}")
    experiments = [e.experiment_id for e in client.search_experiments()]
    (search,) = (r for r in client.search_runs(experiments) if "best_trial" in r.data.tags)
    best = search.data.tags["best_trial"]
    (trial,) = (
        r for r in client.search_runs(experiments) if r.data.tags.get("tuner.trial_id") == best
    )
    (once,) = client.get_metric_history(trial.info.run_id, "w1_final")
    assert once.value == search.data.metrics["best_w1_final"]
    return best, once.value


def mlflow_runs(database: Path) -> dict[str, list[tuple[str, str]]]:
    """(name, status) of the runs in a database: the searches' and the trials'."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{database}")
    experiments = [e.experiment_id for e in client.search_experiments()]
    runs: dict[str, list[tuple[str, str]]] = {"searches": [], "trials": []}
    for found in client.search_runs(experiments):
        kind = "trials" if "mlflow.parentRunId" in found.data.tags else "searches"
        runs[kind].append((str(found.info.run_name), found.info.status))
        counted = "while_training/generator_steps"
        steps = [m.step for m in client.get_metric_history(found.info.run_id, counted)]
        assert len(steps) == len(set(steps)), "a report was logged twice"
    return runs
