"""Find the published points of a search space.

The published point of a method has, of the searched hyperparameters, those values that were
published with the method. It may have any value of the others.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from trainables.config import PUBLISHED, TrialConfig
from tuner.space.domains import Choice, Domain, coerce, possible_values
from tuner.space.spec import SearchSpec

#: The keys that define a method.
METHOD_KEYS = ("training.loss", "training.constraint")
#: Keys whose value in ``PUBLISHED`` is none of a publication's, as the decay of AdamW.
_FREE_KEYS = (
    *METHOD_KEYS,
    "training.weight_decay",
    "training.divergence",
    "training.label_smoothing",
    "training.instance_noise",
    "training.consistency_margin",
)


def published_points(search: SearchSpec) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Yield the published point of each method of a search, in the search's order.

    Yields:
        The name of the method, its published values of the searched keys, and those published
        values that no trial can have.
    """
    for chosen in _methods(search):
        yield _name(chosen), *_point(search, chosen)


def spared_trials(search: SearchSpec) -> frozenset[int]:
    """Return the numbers of the trials that ASHA spares: the first at each published point.

    Only initial points count, which are given in full: a sampler could return to such a point.
    """
    if not search.asha.spare_published or search.search.sampler == "grid":
        return frozenset()
    spared = set()
    for _, point, excluded in published_points(search):
        numbers = (
            number
            for number, first in enumerate(search.first_points)
            if all(key in first and _equal(first[key], value) for key, value in point.items())
        )
        if point and not excluded and (number := next(numbers, None)) is not None:
            spared.add(number)
    return frozenset(spared)


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
        key: value for key, (value, is_had) in published_values(config).items() if not is_had
    }
    return point, excluded


def published_values(config: TrialConfig) -> dict[str, tuple[Any, bool]]:
    """Return the published values of the keys that apply to a trial, and whether it has them."""
    training = config.applied()["training"]
    method = _name({key: training.get(key.split(".")[1]) for key in METHOD_KEYS})
    published = {name: _published(f"training.{name}", method) for name in training}
    return {
        f"training.{name}": (value, _equal(training[name], value))
        for name, value in published.items()
        if value is not None
    }


def _equal(one: Any, other: Any) -> bool:
    if any(isinstance(value, bool | str) or value is None for value in (one, other)):
        return one == other
    return math.isclose(one, other, rel_tol=1e-9)
