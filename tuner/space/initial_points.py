"""The first trials of a search, where its author says what they are."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import Field

from trainables.config import Frozen, plain_number, why_no_effect
from tuner.errors import Fault
from tuner.space.domains import Choice, Range, coerce, flat


class InitialPoint(Frozen):
    """Values that one of the first trials has; what is left out the sampler proposes."""

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
        known = {
            field: (value,)
            for name in resolved
            for field, value in [*sections.get(name, ()), *getattr(point, name).items()]
            if not isinstance(value, Range | Choice)
        }
        for name in resolved.keys() & sections.keys():
            searched = dict(flat(sections[name]))
            for field, value in flat(getattr(point, name).items()):
                where = f"initial_points.{index}.{name}.{field}"
                why = why_no_effect(field, known)
                if why is None and field in searched:
                    value, why = _fitted(searched[field], value)
                if why is not None:
                    faults.append(Fault(where, why))
                elif field not in searched:
                    faults.append(
                        Fault(where, f"no such key in {name} of this search: leave it out")
                    )
                elif isinstance(searched[field], Range | Choice):
                    outer, *inner = field.split(".", 1)
                    if inner:
                        resolved[name].setdefault(outer, {})[inner[0]] = value
                    else:
                        resolved[name][outer] = value
        resolved_points.append(InitialPoint(**resolved))
    search = sections.get("search")
    if resolved_points and search is not None and search.sampler == "grid":
        what = "have no place in a grid, which tries every point there is: leave them out"
        faults.append(Fault("initial_points", what))
    return tuple(resolved_points), faults


def _fitted(domain: Any, value: Any) -> tuple[Any, str | None]:
    """The value as the domain has it, or why it cannot be there."""
    if isinstance(domain, Range | Choice):
        fitted = coerce(domain, value)
        if fitted is not None:
            return fitted, None
        if isinstance(domain, Choice):
            return None, f"must be one of {list(domain.choice)}, got {value!r}"
        return (
            None,
            f"must lie in {domain.low:g} to {domain.high:g}, got {value!r}: widen the one "
            "or change the other",
        )
    if plain_number(value) != domain:
        return None, f"is fixed to {domain!r}, got {value!r}: leave it out, or search it"
    return domain, None
