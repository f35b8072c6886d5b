"""Fill in the published defaults of the methods that are searched; refuse keys that cannot apply.

A default must be the same for all values that a searched key may take. If several architectures are
searched, a default that differs between them is filled in for each trial.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from trainables.config import (
    APPLIES_WHEN,
    ARCHITECTURES,
    DEFAULT_ARCHITECTURE,
    DEFAULT_CONSTRAINT,
    DEFAULT_LOSS,
    PUBLISHED,
    NetworkConfig,
    TrainingConfig,
    may_be_absent,
    refused_together,
    why_no_effect,
)
from tuner.errors import Fault
from tuner.space.domains import possible_values

#: All keys with a published value; a key stands after those that it depends on.
_PUBLISHED_KEYS = tuple(dict.fromkeys(key for method in PUBLISHED.values() for key in method))
_OF_ARCHITECTURES = tuple(dict.fromkeys(key for net in ARCHITECTURES.values() for key in net))
#: The section of each key; a key stands after those that it depends on.
_SECTION = {
    **dict.fromkeys(TrainingConfig.model_fields, "training"),
    **dict.fromkeys(NetworkConfig.model_fields, "networks"),
}


def resolve_defaults(
    networks: Any, training: Any, broken: Collection[str] = ()
) -> tuple[Any, Any, list[Fault]]:
    """Fill in the published defaults of the methods that are searched.

    Args:
        networks: The section, valid by itself.
        training: The section, valid by itself.
        broken: Keys that have faults of their own: no conclusion is drawn from them.

    Returns:
        Both sections with defaults, and the faults of keys that cannot apply or need a value.
    """
    values = {
        field: getattr(s, field) for s in (networks, training) for field in s.model_fields_set
    }
    values = {field: value for field, value in values.items() if value is not None}
    given = set(values)
    values.setdefault("loss", DEFAULT_LOSS)
    if "wasserstein" in possible_values(values["loss"]):
        values.setdefault("constraint", DEFAULT_CONSTRAINT)
    if not why_no_effect("architecture", _possible_by_key(values, broken)):
        values.setdefault("architecture", DEFAULT_ARCHITECTURE)
    unsure, faults = set(broken), []
    for field in _PUBLISHED_KEYS:
        published = {m: PUBLISHED[m][field] for m in _methods(values) if field in PUBLISHED[m]}
        if (
            field in values
            or not published
            or why_no_effect(field, _possible_by_key(values, unsure))
        ):
            continue
        values[field] = next(iter(published.values()))
        if len(set(published.values())) > 1 and not unsure & {field, *_parents(field)}:
            unsure.add(field)
            faults.append(Fault(f"training.{field}", _no_one_default(values, published)))
    named = possible_values(values.get("architecture", DEFAULT_ARCHITECTURE))
    for field in _OF_ARCHITECTURES:
        defaults = [ARCHITECTURES[n][field] for n in named if field in ARCHITECTURES.get(n, {})]
        is_agreed = field not in values and len(set(defaults)) == 1
        if is_agreed and not why_no_effect(field, _possible_by_key(values, unsure)):
            values[field] = defaults[0]
    possible = _possible_by_key(values, unsure)
    for field in APPLIES_WHEN:
        if field in given and (reason := why_no_effect(field, possible)):
            faults.append(Fault(f"{_SECTION[field]}.{field}", reason))
    faults += [
        Fault(f"{_SECTION[key]}.{key}", reason)
        for key, reason in refused_together(possible, where_asked=True)
    ]
    return (
        _with(networks, values),
        _with(training, {**_defaults(), **values}),
        faults,
    )


def keys_without_effect(values: Mapping[str, Any]) -> set[str]:
    """Return the keys that apply to no trial of a search.

    Args:
        values: The value or domain of each key of ``networks`` and ``training`` that has one.
    """
    used = {key: value for key, value in values.items() if value is not None}
    while True:
        possible = _possible_by_key(used, ())
        rest = {key: value for key, value in used.items() if not why_no_effect(key, possible)}
        if len(rest) == len(used):
            return values.keys() - used.keys()
        used = rest


def _with(section: Any, values: Mapping[str, Any]) -> Any:
    keys = type(section).model_fields
    return type(section).model_validate({k: v for k, v in values.items() if k in keys})


def _parents(field: str) -> set[str]:
    return {parent for needs in APPLIES_WHEN.get(field, ()) for parent in needs}


def _methods(values: Mapping[str, Any]) -> Iterator[str]:
    for loss in possible_values(values["loss"]):
        if loss == "wasserstein":
            yield from possible_values(values["constraint"])
        else:
            yield loss


def _possible_by_key(
    values: Mapping[str, Any], unsure: Collection[str]
) -> dict[str, tuple[Any, ...]]:
    """Return the values that each key may take, without the keys that are unsure."""
    possible: dict[str, tuple[Any, ...]] = {}
    for key in _SECTION:
        if key not in unsure:
            may_be = possible_values(values.get(key))
            possible[key] = (*may_be, None) if may_be_absent(key, possible) else may_be
    return possible


def _no_one_default(values: Mapping[str, Any], published: Mapping[str, Any]) -> str:
    searched = [key for key in ("loss", "constraint") if len(possible_values(values.get(key))) > 1]
    by = ", ".join(f"{value} under {method}" for method, value in published.items())
    which = f"{' and '.join(searched)} {'is' if len(searched) == 1 else 'are'} searched"
    return f"has no single default while {which} ({by}): give a value"


def _defaults() -> dict[str, Any]:
    """Return the defaults that are the same under every method."""
    fields = TrainingConfig.model_fields
    return {field: fields[field].default for field in fields if field not in APPLIES_WHEN}
