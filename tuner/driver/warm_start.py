"""Warm start: run the best trials of an earlier search first."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuner.errors import BadInput, Fault
from tuner.results import placed, read_trials
from tuner.space import Choice, Range, coerce, flat

#: The number of trials that are run again.
NUM_POINTS = 5


def best_points(run_dir: Path, sections: Mapping[str, Any]) -> list[dict[str, dict[str, Any]]]:
    """Return the best completed trials of a search as initial points of another, the best first.

    A point has those values that the new search searches and that lie in its domains; the sampler
    proposes the others. Scores are not kept, since the data or the objective may differ.

    Args:
        run_dir: The folder of the earlier search.
        sections: The new search's ``networks`` and ``training``.

    Raises:
        BadInput: if there is no such trial.
    """
    table = run_dir / "trials.csv"
    try:
        completed = placed(read_trials(table))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        message = f"{table} cannot be read ({reason}): give the folder of a finished search"
        raise BadInput("--warm-start", [Fault("", message)]) from error
    if not completed:
        message = f"{run_dir} has no completed trial to start from: leave it out"
        raise BadInput("--warm-start", [Fault("", message)])
    points = [_point(trial.cells, sections) for trial in completed]
    # Trials are equal here if they differ only in values that the new search does not search.
    distinct = [point for i, point in enumerate(points) if point and point not in points[:i]]
    if not distinct:
        message = f"{run_dir} has no trial with a value in a range of this search: leave it out"
        raise BadInput("--warm-start", [Fault("", message)])
    return distinct[:NUM_POINTS]


def _point(row: Mapping[str, str], sections: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    point: dict[str, dict[str, Any]] = {}
    for name in ("training", "networks"):
        for field, domain in flat(sections.get(name, ())):
            text = row.get(field)
            if not text or not isinstance(domain, Range | Choice):
                continue
            value = coerce(domain, _plain(text))
            if value is not None:
                outer, *inner = field.split(".", 1)
                values = point.setdefault(name, {})
                (values.setdefault(outer, {}) if inner else values)[(inner or [outer])[0]] = value
    return point


def _plain(text: str) -> Any:
    return {"True": True, "False": False}.get(text, text)
