"""Summarize a search from its table and its lock, without opening its journal.

This is for many searches at a time: it takes milliseconds each, and imports neither torch nor
Optuna. The table of a running search may lag behind it by a few seconds.
:mod:`tuner.results.snapshot` reads the complete state of one search.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from trainables.metrics import EARLIER_GROUND, METRICS
from tuner import storage
from tuner.errors import BadInput
from tuner.results.budgets import Spent
from tuner.results.ranking import best_of, is_finished
from tuner.results.rows import Row, read_trials
from tuner.results.search_folder import is_search

#: The elapsed time is searched in the last bytes of the journal.
_TAIL_BYTES = 65_536


@dataclass(frozen=True)
class Best:
    """The best trial: its ``w1`` at the best rung, and its ``w1_final`` if it was in the final."""

    trial_id: str
    w1: float
    w1_final: float | None


@dataclass(frozen=True)
class Summary:
    """The summary of a search.

    ``trials`` counts the trials by status. ``num_trials`` is the number of trials that the search
    will run, or ``None`` if only its budgets limit it. ``ground`` names the ground metric of
    images, or the custom features: ``w1`` of two searches compares only if it is the same.
    ``began_s`` and ``changed_s`` are seconds since 1970. If the folder cannot be read, ``state`` is
    ``broken`` and ``trouble`` gives the reason.
    """

    name: str
    run_dir: Path
    state: Literal["running", "interrupted", "finished", "broken"]
    data: str | None = None
    ground: str | None = None
    num_trials: int | None = None
    trials: Mapping[str, int] | None = None
    best: Best | None = None
    began_s: float | None = None
    changed_s: float | None = None
    trouble: str | None = None


def find_searches(runs_dir: Path) -> list[Path]:
    """Return the search folders in a folder, by name, or the folder itself if it holds a search."""
    if is_search(runs_dir, or_broken=True):
        return [runs_dir]
    folders = (path for path in runs_dir.iterdir() if path.is_dir())
    return sorted(folder for folder in folders if is_search(folder, or_broken=True))


def summarize(run_dir: Path) -> Summary:
    """Summarize a search; a folder that cannot be read gives a summary with ``trouble``."""
    try:
        return _summarize(run_dir)
    except OSError as error:
        trouble = f"{Path(error.filename or run_dir).name}: {error.strerror or error}"
    except BadInput as error:
        trouble = f"spec.yaml: {'; '.join(map(str, error.faults))}"
    except yaml.YAMLError:
        trouble = "spec.yaml is not YAML"
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        trouble = f"not the files of a search ({' '.join(str(error).split())[:80]})"
    return Summary(run_dir.absolute().name, run_dir, "broken", trouble=trouble)


def _summarize(run_dir: Path) -> Summary:
    with (run_dir / "spec.yaml").open("rb") as file:
        spec = yaml.safe_load(file)
    objective = spec["objective"]
    journal = (run_dir / "study.log").stat()
    trials = _trials(run_dir / "trials.csv", METRICS[objective["name"]])
    num_trials = _num_trials(run_dir, spec)
    is_running = storage.is_owned(run_dir)
    is_complete = is_finished(
        trials,
        num_trials=num_trials,
        is_over_budget=_is_over_budget(run_dir, spec, trials),
        num_finalists=objective["final_trials"],
        num_seeds=objective.get("final_seeds", 1),
    )
    return Summary(
        name=spec["name"],
        run_dir=run_dir,
        state="running" if is_running else "finished" if is_complete else "interrupted",
        data=spec["data"]["dataset"],
        ground=objective.get("features") or objective.get("ground", EARLIER_GROUND),
        num_trials=num_trials,
        trials=dict(Counter(trial.cells["status"] for trial in trials)),
        best=_best(best_of(trials)),
        began_s=(run_dir / "spec.yaml").stat().st_mtime,
        changed_s=journal.st_mtime,
    )


def _trials(path: Path, metric: str) -> list[Row]:
    # The table is first written when the first trial ends.
    try:
        return read_trials(path, metric) if path.exists() else []
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error


def _is_over_budget(run_dir: Path, spec: Mapping[str, Any], trials: Sequence[Row]) -> bool:
    search, gpus = spec["search"], spec.get("resources", {}).get("gpus_per_trial", 0)
    has_time_budget = search.get("time_budget_s") is not None
    spent = Spent(
        elapsed_s=_elapsed_s(run_dir / "study.log") if has_time_budget else 0.0,
        generator_steps=sum(int(trial.cells["generator_steps"]) for trial in trials),
        trial_s=sum(trial.seconds for trial in trials),
        gpus_per_trial=1.0 if isinstance(gpus, str) else gpus,
    )
    return spent.exceeds(search)


def _best(trial: Row | None) -> Best | None:
    if trial is None:
        return None
    w1_final = None if trial.final is None else trial.final["w1_final"]
    return Best(trial.cells["trial_id"], trial.best_w1 or 0.0, w1_final)


def _num_trials(run_dir: Path, spec: Mapping[str, Any]) -> int | None:
    if spec["search"]["sampler"] != "grid":
        return spec["search"].get("num_trials")
    from tuner.space import read_spec  # slow to import; only it can count the points of a grid

    return read_spec(run_dir / "spec.yaml").num_trials


def _elapsed_s(journal: Path) -> float:
    """Return the seconds that a search has run, from the end of its journal."""
    with journal.open("rb") as file:
        file.seek(max(0, journal.stat().st_size - _TAIL_BYTES))
        lines = file.read().splitlines()
    for line in reversed(lines):
        if b'"elapsed_s"' in line and line.endswith(b"}"):
            return float(json.loads(line)["user_attr"]["elapsed_s"])
    return 0.0
