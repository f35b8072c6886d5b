"""Find the trials that had the published points, and describe the points that are missing.

The published point of a method has, of the searched hyperparameters, those values that were
published with the method. It may have any value of the others.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, final

from tuner.page.facts import Facts, last_common_rung
from tuner.space import METHOD_KEYS, dump_yaml, published_points, published_values
from tuner.study import Trial


@final
@dataclass(frozen=True)
class Baseline:
    """The published point of a method in a search.

    ``trial`` is the trial that had it, if any. ``steps`` is the last rung that it and the best
    trial both reached, with the ``w1`` of each there. ``point`` are the published values of the
    searched keys; ``excluded`` are the published values that no trial can have, since they lie
    outside of the search's domains. ``yaml`` is the point as an item of ``initial_points``.
    """

    method: str
    trial: Trial | None
    steps: int | None = None
    w1: float | None = None
    best_w1: float | None = None
    excluded: Mapping[str, Any] | None = None
    yaml: str = ""
    point: Mapping[str, Any] = field(default_factory=dict)


def baselines(facts: Facts) -> list[Baseline]:
    """Return the published point of each method of the search, in the search's order."""
    points = []
    for method, point, excluded in published_points(facts.search.spec):
        trials = [t for t in facts.search.trials if _has(t, point)] if not excluded else []
        if not trials:
            found = Baseline(method, None, excluded=excluded, yaml=_yaml(point))
        else:
            # The first counts, of several trials: the best of them would be biased.
            found = _compared(facts, method, trials[0], _yaml(point))
        points.append(replace(found, point={**point, **excluded}))
    return points


def _compared(facts: Facts, method: str, trial: Trial, text: str) -> Baseline:
    best = facts.search.best
    steps = None if best is None else last_common_rung(facts, trial, best)
    if best is None or steps is None:
        return Baseline(method, trial, yaml=text)
    w1, best_w1 = (facts.curves[t.number][steps] for t in (trial, best))
    return Baseline(method, trial, steps, w1, best_w1, yaml=text)


def _has(trial: Trial, point: Mapping[str, Any]) -> bool:
    if any(trial.params.get(key) != point[key] for key in METHOD_KEYS if key in point):
        return False
    return all(is_had for _, is_had in published_values(trial.config).values())


def _yaml(point: Mapping[str, Any]) -> str:
    """Return the point as an item of ``initial_points``."""
    sections = {
        section: {key.split(".", 1)[1]: value for key, value in values}
        for section, values in itertools.groupby(point.items(), lambda item: item[0].split(".")[0])
    }
    return dump_yaml([sections])
