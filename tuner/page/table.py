"""Build the table of trials of a report, with links to their MLflow runs."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from trainables.metrics import CUSTOM_PREFIX
from tuner.page.facts import Facts
from tuner.page.style import number, short
from tuner.results import half_width
from tuner.space import Choice, Domain
from tuner.study import Trial
from tuner.tracking import RunLinks, Tracker


@final
@dataclass(frozen=True)
class Cell:
    """A cell of the table: its text, and the number that it stands for, if any."""

    text: str
    number: float | None = None
    href: str | None = None
    wrap: bool = False

    @property
    def sort_value(self) -> float | None:
        """Return the number, to seven digits; ``None`` where the text itself has it.

        A page of thousands of trials would be half as large again with it in every cell.
        """
        if self.number is None:
            return None
        rounded = float(f"{self.number:.7g}")
        return None if _is_text_of(rounded, self.text) else rounded


def _is_text_of(value: float, text: str) -> bool:
    try:
        return "_" not in text and float(text) == value
    except ValueError:  # such as 1,000
        return False


def table(facts: Facts, links: RunLinks, order: Sequence[str] = ()) -> dict[str, Any]:
    """Return the template values of the table: columns, rows by place, and notes.

    Args:
        facts: The search.
        links: To its MLflow runs.
        order: The searched keys in the order of their columns; by default that of the search.
    """
    trials = facts.places
    domains = facts.search.spec.domains
    keys = [key for key in order or domains if any(key in t.params for t in trials)]
    has_final = any(t.final for t in trials)
    has_message = any(t.message for t in trials)
    # The scores and what was searched first: a telephone shows four columns or five.
    has_mean = any("w1_final_mean" in (t.final or {}) for t in trials)
    of_final = [*["final seeds' mean"] * has_mean, *["w1 final"] * has_final]
    columns = ["place", "trial", *of_final, "w1", *map(short, keys)]
    columns += ["± 95%", "at rung", "status", "steps", "own critic", "training s"]
    custom = sorted({k for t in trials for k in t.final or {} if k.startswith(CUSTOM_PREFIX)})
    columns += [f"{name.removeprefix(CUSTOM_PREFIX)} (final)" for name in custom]
    columns += ["MLflow"] * bool(links.runs) + ["message"] * has_message
    best = facts.search.best
    rows = []
    for trial in trials:
        scores, others = _cells(facts, trial, has_final, has_mean)
        cells = [*scores, *(_value(trial.params.get(key)) for key in keys), *others]
        cells += [_value((trial.final or {}).get(name)) for name in custom]
        if links.runs:
            href = links.of(trial)
            cells.append(Cell("run" if href else "-", None, href))
        if has_message:
            cells.append(Cell(trial.message or "", wrap=True))
        is_best = best is not None and trial.number == best.number
        status = facts.outcome(trial).partition(" at ")[0]
        rows.append({"number": trial.number, "cells": cells, "status": status, "is_best": is_best})
    names = [*map(filter_name, columns)]
    return {
        "columns": columns,
        "names": names,
        "filter_example": f'words, or {_example(domains, keys)} and status == "completed"',
        "rows": rows,
        "numeric": [
            index
            for index, cells in enumerate(zip(*(row["cells"] for row in rows), strict=True))
            if any(cell.number is not None for cell in cells)
        ],
        "statuses": sorted({row["status"] for row in rows}),
        **_mlflow(facts, links),
        "table_notes": _notes(facts, links),
    }


def _example(domains: Mapping[str, Domain], keys: Sequence[str]) -> str:
    """Return a comparison that holds for about half of the trials."""
    for key in keys:
        domain = domains[key]
        if not isinstance(domain, Choice):
            low, high = domain.low, domain.high
            middle = math.sqrt(low * high) if domain.log else (low + high) / 2
            return f"{filter_name(short(key))} < {middle:.2g}"
    return "w1 < 1"


def filter_name(column: str) -> str:
    """Return the name by which a filter calls a column: letters, digits, dots and underscores."""
    if column == "± 95%":
        return "error"
    name = re.sub(r"[^A-Za-z0-9_.]+", "_", column).strip("_")
    return name if re.match("[A-Za-z_]", name) else f"_{name}"


def _cells(
    facts: Facts, trial: Trial, has_final: bool, has_mean: bool
) -> tuple[list[Cell], list[Cell]]:
    """Return the cells before those of the hyperparameters, and those after."""
    curve = facts.curves.get(trial.number, {})
    rung = facts.best_rung(trial)
    report = facts.search.reports.get(trial.number, {}).get(rung or -1, trial.metrics)
    error = report.get("w1_stderr")
    final, mean = ((trial.final or {}).get(name) for name in ("w1_final", "w1_final_mean"))
    scores = [
        Cell(str(facts.place_of[trial.number]), facts.place_of[trial.number]),
        Cell(trial.trial_id, trial.number),
        *([_value(mean)] if has_mean else []),
        *([_value(final)] if has_final else []),
        _value(None if rung is None else curve[rung]),
    ]
    return scores, [
        _value(None if error is None or rung is None else half_width(error), "{:.2g}"),
        _value(rung, "{:,}"),
        Cell(facts.outcome(trial)),
        Cell(f"{trial.generator_steps:,}", trial.generator_steps),
        _value(report.get("critic_estimate")),
        _value(trial.metrics.get("training_seconds"), "{:.1f}"),
    ]


def _value(value: Any, template: str | None = None) -> Cell:
    if value is None:
        return Cell("")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Cell(str(value))
    text = template.format(value) if template else number(value)
    return Cell(text, value)


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
        "Click a heading to sort, and a row to select its trial in the figures. A filter is one or "
        "more words of a row, or comparisons of columns with and, or, not and brackets; it selects "
        "the trials of all figures. The place is by w1 in the final, then by w1 at the best rung, "
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
