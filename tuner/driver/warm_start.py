"""A search begun where a finished one ended: its best trials are the first that are run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainables.config import plain_number
from tuner.errors import BadInput, Fault
from tuner.results import placed, read_trials
from tuner.space import Choice, Range, coerce, flat

#: As many of the best trials are run again.
NUM_POINTS = 5


def points(run_dir: Path, sections: Mapping[str, Any]) -> list[dict[str, dict[str, Any]]]:
    """The best completed trials of a search as initial points of another, the best first.

    Only values that the new search asks for, and that it may have, are taken over: the rest its
    sampler proposes. No score is, since the data or the objective may be others.

    Args:
        run_dir: The folder of the earlier search, or the name of one.
        sections: The new one's ``networks`` and ``training``.

    Raises:
        BadInput: where there is nothing to take over.
    """
    table = run_dir / "trials.csv"
    try:
        completed = placed(read_trials(table))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        what = f"{table} cannot be read ({why}): give the folder of a finished search"
        raise BadInput("--warm-start", [Fault("", what)]) from error
    if not completed:
        what = f"{run_dir} has no completed trial to start from: leave it out"
        raise BadInput("--warm-start", [Fault("", what)])
    found = [_point(trial.cells, sections) for trial in completed]
    # Trials that differ in nothing that is searched here are one point.
    distinct = [point for i, point in enumerate(found) if point and point not in found[:i]]
    if not distinct:
        what = f"{run_dir} has no trial with a value that this search may have: leave it out"
        raise BadInput("--warm-start", [Fault("", what)])
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
    return {"True": True, "False": False}.get(text, plain_number(text))
