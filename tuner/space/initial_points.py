"""Initial points: values of the first trials, given in the search space."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import Field

from trainables.config import Frozen, plain_number, why_no_effect
from tuner.errors import Fault
from tuner.space.domains import Choice, Range, coerce, flat, is_same


class InitialPoint(Frozen):
    """Searched values of one of the first trials; the sampler proposes those that are left out."""

    training: dict[str, Any] = Field(default={}, description="Searched values of training.")
    networks: dict[str, Any] = Field(default={}, description="Searched values of networks.")


def resolve_points(
    points: Iterable[InitialPoint], sections: Mapping[str, Any]
) -> tuple[tuple[InitialPoint, ...], list[Fault]]:
    """Convert points to the types of their search; list the faults of those that do not fit it.

    A value that the search fixes to the same value is dropped.

    Args:
        points: The points, as they were given.
        sections: The valid sections of the search; a missing one causes no fault.
    """
    resolved_points, faults = [], []
    for index, point in enumerate(points):
        resolved: dict[str, dict[str, Any]] = {"training": {}, "networks": {}}
        fixed = {
            field: (value,)
            for name in resolved
            for field, value in [*sections.get(name, ()), *getattr(point, name).items()]
            if not isinstance(value, Range | Choice)
        }
        # As a constraint that the search fixes, in a trial whose loss has none.
        absent = [field for field in fixed if why_no_effect(field, fixed)]
        fixed |= dict.fromkeys(absent, (None,))
        for name in resolved.keys() & sections.keys():
            searched = dict(flat(sections[name]))
            for field, value in flat(getattr(point, name).items()):
                where = f"initial_points.{index}.{name}.{field}"
                message = why_no_effect(field, fixed)
                if message is None and field in searched:
                    value, message = _fit(searched[field], value)
                if message is None and field not in searched:
                    message = f"no such key in {name} of this search: leave it out"
                if message is not None:
                    faults.append(Fault(where, message))
                elif isinstance(searched[field], Range | Choice):
                    outer, *inner = field.split(".", 1)
                    if inner:
                        resolved[name].setdefault(outer, {})[inner[0]] = value
                    else:
                        resolved[name][outer] = value
        resolved_points.append(InitialPoint(**resolved))
    search = sections.get("search")
    if resolved_points and search is not None and search.sampler == "grid":
        message = "must not be given for a grid, which tries every point: leave them out"
        faults.append(Fault("initial_points", message))
    return tuple(resolved_points), faults


def _fit(domain: Any, value: Any) -> tuple[Any, str | None]:
    """Return the value in the type of the domain, and a message if it is outside the domain."""
    if isinstance(domain, Choice):
        same = [one for one in domain.choice if is_same(one, value)]  # which may be None
        if same:
            return same[0], None
        return None, f"must be one of {list(domain.choice)}, got {value!r}"
    if isinstance(domain, Range):
        fitted = coerce(domain, value)
        if fitted is not None:
            return fitted, None
        return (
            None,
            f"must lie in {domain.low:g} to {domain.high:g}, got {value!r}: change it, or widen "
            "the range",
        )
    if plain_number(value) != domain:
        return None, f"is fixed at {domain!r}, got {value!r}: leave it out, or search it"
    return domain, None
