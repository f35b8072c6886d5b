"""A search told at a glance: by its table and its lock alone, without opening its journal.

:mod:`tuner.results.snapshot` reads the whole of a search. This is for many searches at a time: it
takes milliseconds each, and loads neither torch nor Optuna. The table of a running search is a few
seconds old.
"""

import csv
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from tuner.storage import lock as folder

#: Any of these in a folder makes it one of a search, if perhaps a broken one.
MARKS = ("spec.yaml", "study.log", "trials.csv")
#: The journal's last lines are looked through for the time used.
_TAIL_BYTES = 65_536


@dataclass(frozen=True)
class Best:
    """The best trial: its ``w1`` at its last rung, and by the final, if it was in one."""

    trial_id: str
    w1: float
    w1_final: float | None


@dataclass(frozen=True)
class Glance:
    """What is told of a search; of a broken one ``state`` is ``broken`` and ``trouble`` why.

    ``trials`` are counted by status, ``num_trials`` are asked for (``None``: as many as the time
    allows). ``began_s`` and ``changed_s`` are seconds since 1970.
    """

    name: str
    run_dir: Path
    state: Literal["running", "interrupted", "finished", "broken"]
    data: str | None = None
    num_trials: int | None = None
    trials: Mapping[str, int] | None = None
    best: Best | None = None
    began_s: float | None = None
    changed_s: float | None = None
    trouble: str | None = None


def searches(runs_dir: Path) -> list[Path]:
    """The folders of searches in a folder, by name; the folder itself, if it is one."""
    if _is_search(runs_dir):
        return [runs_dir]
    return sorted(path for path in runs_dir.iterdir() if path.is_dir() and _is_search(path))


def _is_search(path: Path) -> bool:
    return any((path / mark).exists() for mark in MARKS)


def glance(run_dir: Path) -> Glance:
    """Look at a search's folder; whatever is wrong with it is told, never raised."""
    try:
        return _glance(run_dir)
    except OSError as error:
        trouble = f"{Path(error.filename or run_dir).name}: {error.strerror or error}"
    except yaml.YAMLError:
        trouble = "spec.yaml is not YAML"
    except (ValueError, LookupError, TypeError, AttributeError, csv.Error) as error:
        trouble = f"not as a search writes it ({' '.join(str(error).split())[:80]})"
    return Glance(run_dir.absolute().name, run_dir, "broken", trouble=trouble)


def _glance(run_dir: Path) -> Glance:
    with (run_dir / "spec.yaml").open("rb") as file:
        spec = yaml.safe_load(file)
    journal = (run_dir / "study.log").stat()
    rows = _rows(run_dir / "trials.csv")
    num_trials = _num_trials(run_dir, spec)
    is_running = folder.is_held(run_dir)
    is_finished = not is_running and _is_finished(run_dir, spec, rows, num_trials)
    return Glance(
        name=spec["name"],
        run_dir=run_dir,
        state="running" if is_running else "finished" if is_finished else "interrupted",
        data=spec["data"]["dataset"],
        num_trials=num_trials,
        trials=dict(Counter(row["status"] for row in rows)),
        best=_best(rows, _metric(spec)),
        began_s=(run_dir / "spec.yaml").stat().st_mtime,
        changed_s=journal.st_mtime,
    )


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():  # until the first trial has ended
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _num_trials(run_dir: Path, spec: Mapping[str, Any]) -> int | None:
    if spec["search"]["sampler"] != "grid":
        return spec["search"].get("num_trials")
    from tuner.space.spec import read_spec  # which counts the grid's points

    return read_spec(run_dir / "spec.yaml").num_trials


def _metric(spec: Mapping[str, Any]) -> str:
    return "w1" if spec["objective"]["name"] == "independent_critic" else "critic_estimate"


def _completed(rows: Sequence[Mapping[str, str]], metric: str) -> list[Mapping[str, str]]:
    completed = [row for row in rows if row["status"] == "completed"]
    return sorted(completed, key=lambda row: (float(row[metric]), row["trial_id"]))


def _best(rows: Sequence[Mapping[str, str]], metric: str) -> Best | None:
    """As :func:`tuner.results.ranking.best` chooses it."""
    completed = _completed(rows, metric)
    in_final = [row for row in completed if row["w1_final"]]
    best = min(
        in_final or completed[:1], key=lambda row: float(row["w1_final"] or math.inf), default=None
    )
    if best is None:
        return None
    w1_final = float(best["w1_final"]) if best["w1_final"] else None
    return Best(best["trial_id"], float(best["w1"]), w1_final)


def _is_finished(
    run_dir: Path,
    spec: Mapping[str, Any],
    rows: Sequence[Mapping[str, str]],
    num_trials: int | None,
) -> bool:
    """As :attr:`tuner.results.snapshot.Snapshot.is_finished` has it, by the table."""
    if any(row["status"] == "running" for row in rows):
        return False
    finalists = _completed(rows, _metric(spec))[: spec["objective"]["final_trials"]]
    if not all(row["w1_final"] for row in finalists):
        return False
    budget_s = spec["search"].get("time_budget_s")
    has_asked = num_trials is not None and len(rows) >= num_trials
    return has_asked or (budget_s is not None and _elapsed_s(run_dir / "study.log") >= budget_s)


def _elapsed_s(journal: Path) -> float:
    """Seconds that a search has run, as the end of its journal says."""
    with journal.open("rb") as file:
        file.seek(max(0, journal.stat().st_size - _TAIL_BYTES))
        lines = file.read().splitlines()
    for line in reversed(lines):
        if b'"elapsed_s"' in line and line.endswith(b"}"):
            return float(json.loads(line)["user_attr"]["elapsed_s"])
    return 0.0
