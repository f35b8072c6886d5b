"""Find the trials that had the papers' default points, and describe the points that are missing."""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, final

from trainables.config import ARCHITECTURES, DEFAULT_ARCHITECTURE, PUBLISHED, TrainingConfig
from tuner.page.facts import Facts, last_common_rung
from tuner.space import Choice, Domain, SearchSpec, coerce, dump_yaml, possible_values
from tuner.study import Trial

#: The keys that define a method.
_METHOD_KEYS = ("training.loss", "training.constraint")
#: Keys without a published value: a default point may have any.
_FREE_KEYS = (*_METHOD_KEYS, "networks.architecture")


@final
@dataclass(frozen=True)
class Baseline:
    """The default point of a method in a search.

    ``trial`` is the trial that had it, if any. ``steps`` is the last rung that it and the best
    trial both reached, with the ``w1`` of each there. ``excluded`` are the default values that lie
    outside of the search's domains, by key. ``yaml`` is the point as an item of
    ``initial_points``.
    """

    method: str
    trial: Trial | None
    steps: int | None = None
    w1: float | None = None
    best_w1: float | None = None
    excluded: Mapping[str, Any] | None = None
    yaml: str = ""


def baselines(facts: Facts) -> list[Baseline]:
    """Return the default point of each method of the search, in the search's order."""
    search = facts.search.spec
    points = []
    for chosen in _methods(search):
        point, excluded = _point(search, chosen)
        method = _name(chosen)
        trials = [t for t in facts.search.trials if _has(t, point)] if not excluded else []
        if not trials:
            points.append(Baseline(method, None, excluded=excluded, yaml=_yaml(point)))
            continue
        # If several trials had the point, the first one counts: the best of them would be biased.
        points.append(_compared(facts, method, trials[0], _yaml(point)))
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
            yield dict(zip(_METHOD_KEYS, (loss, constraint), strict=True))


def _name(chosen: Mapping[str, Any]) -> str:
    loss, constraint = (chosen[key] for key in _METHOD_KEYS)
    return constraint if loss == "wasserstein" else loss


def _default(key: str, method: str, architecture: str) -> Any:
    """Return the published value of a searched key, or ``None`` if there is none."""
    _, name = key.split(".", 1)
    for values in (PUBLISHED.get(method, {}), ARCHITECTURES.get(architecture, {})):
        if name in values:
            return values[name]
    field = TrainingConfig.model_fields.get(name)
    return None if field is None or key in _FREE_KEYS else field.default


def _point(search: SearchSpec, chosen: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a method's default point by dotted key, and those defaults that no domain has."""
    method = _name(chosen)
    point: dict[str, Any] = {}
    excluded: dict[str, Any] = {}
    architectures = possible_values(search.networks.architecture or DEFAULT_ARCHITECTURE)

    def pick(key: str, domain: Domain) -> Any:
        first = domain.choice[0] if isinstance(domain, Choice) else domain.low
        if key in _METHOD_KEYS:
            point[key] = chosen[key]
            return chosen[key]
        value = _default(key, method, architectures[0])
        if value is None:
            return first  # any value is allowed
        if (fitted := coerce(domain, value)) is None:
            excluded[key] = value
            return first
        # The defaults of the network depend on the architecture, so they are only part of the
        # point if there is one architecture.
        if key.startswith("training.") or len(architectures) == 1:
            point[key] = fitted
        return fitted

    search.choose(pick)
    return point, excluded


def _has(trial: Trial, point: Mapping[str, Any]) -> bool:
    method_keys = {key for key in point if key in _METHOD_KEYS}
    if any(trial.params.get(key) != point[key] for key in method_keys):
        return False
    method = _name({k: getattr(trial.config.training, k.split(".")[1]) for k in _METHOD_KEYS})
    architecture = trial.config.networks.architecture or DEFAULT_ARCHITECTURE
    keys = [key for key in trial.params if key not in _FREE_KEYS]
    defaults = {key: _default(key, method, architecture) for key in keys}
    return all(value is None or _equal(trial.params[key], value) for key, value in defaults.items())


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
