"""Find the trials that had the published points, and describe the points that are missing.

The published point of a method has, of the searched hyperparameters, those values that were
published with the method. It may have any value of the others.
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, final

from trainables.config import PUBLISHED, TrialConfig
from tuner.page.facts import Facts, last_common_rung
from tuner.space import Choice, Domain, SearchSpec, coerce, dump_yaml, possible_values
from tuner.study import Trial

#: The keys that define a method.
METHOD_KEYS = ("training.loss", "training.constraint")
#: Keys whose value in ``PUBLISHED`` is none of a publication's, as the decay of AdamW.
_FREE_KEYS = (*METHOD_KEYS, "training.weight_decay", "training.instance_noise")


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
    search = facts.search.spec
    points = []
    for chosen in _methods(search):
        point, excluded = _point(search, chosen)
        method = _name(chosen)
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


def _methods(search: SearchSpec) -> Iterator[dict[str, Any]]:
    """Yield each loss, with each constraint that applies to it, by dotted key."""
    constraints = possible_values(search.training.constraint)
    for loss in possible_values(search.training.loss):
        for constraint in constraints if loss == "wasserstein" else (None,):
            yield dict(zip(METHOD_KEYS, (loss, constraint), strict=True))


def _name(chosen: Mapping[str, Any]) -> str:
    loss, constraint = (chosen[key] for key in METHOD_KEYS)
    return constraint if loss == "wasserstein" else loss


def _published(key: str, method: str) -> Any:
    """Return the value of a searched key that was published with a method, or ``None``."""
    section, name = key.split(".", 1)
    is_given = section == "training" and key not in _FREE_KEYS
    return PUBLISHED.get(method, {}).get(name) if is_given else None


def _point(search: SearchSpec, chosen: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a method's published point by dotted key, and those values that no domain has."""
    method = _name(chosen)
    point: dict[str, Any] = {}
    excluded: dict[str, Any] = {}

    def pick(key: str, domain: Domain) -> Any:
        first = domain.choice[0] if isinstance(domain, Choice) else domain.low
        if key in METHOD_KEYS:
            point[key] = chosen[key]
            return chosen[key]
        value = _published(key, method)
        if value is None:
            return first  # any value is allowed
        if (fitted := coerce(domain, value)) is None:
            excluded[key] = value
            return first
        point[key] = fitted
        return fitted

    config = search.trial_config(search.choose(pick), seed=0)
    excluded |= {
        key: value for key, (value, is_had) in _compared_keys(config).items() if not is_had
    }
    return point, excluded


def _compared_keys(config: TrialConfig) -> dict[str, tuple[Any, bool]]:
    """Return the published values of the keys that apply to a trial, and whether it has them."""
    training = config.applied()["training"]
    method = _name({key: training.get(key.split(".")[1]) for key in METHOD_KEYS})
    published = {name: _published(f"training.{name}", method) for name in training}
    return {
        f"training.{name}": (value, _equal(training[name], value))
        for name, value in published.items()
        if value is not None
    }


def _has(trial: Trial, point: Mapping[str, Any]) -> bool:
    if any(trial.params.get(key) != point[key] for key in METHOD_KEYS if key in point):
        return False
    return all(is_had for _, is_had in _compared_keys(trial.config).values())


def _equal(one: Any, other: Any) -> bool:
    if any(isinstance(value, bool | str) or value is None for value in (one, other)):
        return one == other
    return math.isclose(one, other, rel_tol=1e-9)


def _yaml(point: Mapping[str, Any]) -> str:
    """Return the point as an item of ``initial_points``."""
    sections = {
        section: {key.split(".", 1)[1]: value for key, value in values}
        for section, values in itertools.groupby(point.items(), lambda item: item[0].split(".")[0])
    }
    return dump_yaml([sections])
