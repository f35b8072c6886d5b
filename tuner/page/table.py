"""Build the table of trials of a report, with links to their MLflow runs."""

from dataclasses import dataclass
from typing import Any, final

from trainables.metrics import CUSTOM_PREFIX
from tuner.page.facts import Facts
from tuner.page.style import number, short
from tuner.results import half_width
from tuner.study import Trial
from tuner.tracking import RunLinks, Tracker


@final
@dataclass(frozen=True)
class Cell:
    """A cell of the table; it is sorted by ``sort_value``, if it has one."""

    text: str
    sort_value: float | str | None = None
    href: str | None = None
    wrap: bool = False


def table(facts: Facts, links: RunLinks) -> dict[str, Any]:
    """Return the template values of the table: columns, rows by place, and notes."""
    trials = facts.places
    keys = [key for key in facts.search.spec.domains if any(key in t.params for t in trials)]
    has_final = any(t.final for t in trials)
    has_message = any(t.message for t in trials)
    # The scores first: a telephone shows four columns.
    has_mean = any("w1_final_mean" in (t.final or {}) for t in trials)
    of_final = [*["final seeds' mean"] * has_mean, *["w1 final"] * has_final]
    columns = ["place", "trial", *of_final, "w1", "± 95%", "at rung"]
    columns += ["status", "steps", "own critic", "training s"]
    custom = sorted({k for t in trials for k in t.final or {} if k.startswith(CUSTOM_PREFIX)})
    columns += [f"{name.removeprefix(CUSTOM_PREFIX)} (final)" for name in custom]
    columns += [short(key) for key in keys]
    columns += ["MLflow"] * bool(links.runs) + ["message"] * has_message
    best = facts.search.best
    rows = []
    for trial in trials:
        cells = _cells(facts, trial, has_final, has_mean)
        cells += [_value((trial.final or {}).get(name)) for name in custom]
        cells += [_value(trial.params.get(key)) for key in keys]
        if links.runs:
            href = links.of(trial)
            cells.append(Cell("run" if href else "-", None, href))
        if has_message:
            cells.append(Cell(trial.message or "", wrap=True))
        is_best = best is not None and trial.number == best.number
        status = facts.outcome(trial).partition(" at ")[0]
        rows.append({"cells": cells, "status": status, "is_best": is_best})
    return {
        "columns": columns,
        "rows": rows,
        "numeric": [
            name
            for name, *cells in zip(columns, *(row["cells"] for row in rows), strict=True)
            if any(cell.sort_value not in (None, "") for cell in cells)
        ],
        "statuses": sorted({row["status"] for row in rows}),
        **_mlflow(facts, links),
        "table_notes": _notes(facts, links),
    }


def _cells(facts: Facts, trial: Trial, has_final: bool, has_mean: bool) -> list[Cell]:
    curve = facts.curves.get(trial.number, {})
    rung = facts.best_rung(trial)
    report = facts.search.reports.get(trial.number, {}).get(rung or -1, trial.metrics)
    error = report.get("w1_stderr")
    final, mean = ((trial.final or {}).get(name) for name in ("w1_final", "w1_final_mean"))
    return [
        Cell(str(facts.place_of[trial.number]), facts.place_of[trial.number]),
        Cell(trial.trial_id, trial.number),
        *([_value(mean)] if has_mean else []),
        *([_value(final)] if has_final else []),
        _value(None if rung is None else curve[rung]),
        _value(None if error is None or rung is None else half_width(error), "{:.2g}"),
        _value(rung, "{:,}"),
        Cell(facts.outcome(trial)),
        Cell(f"{trial.generator_steps:,}", trial.generator_steps),
        _value(report.get("critic_estimate")),
        _value(trial.metrics.get("training_seconds"), "{:.1f}"),
    ]


def _value(value: Any, template: str | None = None) -> Cell:
    if value is None:
        return Cell("", "")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Cell(str(value))
    return Cell(template.format(value) if template else number(value), value)


def _mlflow(facts: Facts, links: RunLinks) -> dict[str, str | None]:
    """Return the comparison's address, and the command that serves a local store for the links."""
    search, shown = facts.search, {"mlflow_comparison": links.comparison}
    is_local = bool(links.ui) and search.spec.mlflow.tracking_uri is None
    if not is_local:
        return {**shown, "mlflow_command": None}
    tracker = Tracker(search.spec, search.run_dir, search.search_id, lambda text: None)
    return {**shown, "mlflow_command": tracker.ui_command}


def _notes(facts: Facts, links: RunLinks) -> list[str]:
    notes = [
        "Click a heading to sort. The place is by w1 in the final, then by w1 at the best rung, "
        "then by the last rung that was reached. The column w1 is that of a trial's best rung, "
        "whose generator is kept: compare it only between trials that trained as many steps."
    ]
    if not facts.search.trials:
        return ["No trial has been proposed yet."]
    if not links.runs:
        reason = "the search's folder has no mlflow.json, which lists them"
        return [*notes, f"The rows have no links to MLflow runs: {reason}."]
    if facts.search.spec.mlflow.tracking_uri is None:
        notes.append(f"The links to MLflow lead to {links.ui}. Serve it with this command:")
    return notes
