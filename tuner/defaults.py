"""The training section resolved: what the papers publish is filled in, what cannot apply refused.

A searched value has several possible ones, so a default must be the same under all of them.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from trainables.config import TrainingConfig
from trainables.methods import (
    APPLIES_WHEN,
    DEFAULT_CONSTRAINT,
    DEFAULT_LOSS,
    PUBLISHED,
    why_no_effect,
)
from tuner.domains import Choice
from tuner.errors import Fault

#: Every key that a paper publishes, parents first.
_PUBLISHED_KEYS = tuple(dict.fromkeys(key for method in PUBLISHED.values() for key in method))


def resolve_training(given: Any, broken: Collection[str] = ()) -> tuple[Any, list[Fault]]:
    """Fill in what the papers of the methods searched publish; refuse what cannot apply.

    ``broken`` keys have faults of their own: nothing is concluded from them.
    """
    values = {field: getattr(given, field) for field in given.model_fields_set}
    values.setdefault("loss", DEFAULT_LOSS)
    if "wasserstein" in _possible(values["loss"]):
        values.setdefault("constraint", DEFAULT_CONSTRAINT)
    unsure, faults = set(broken), []
    for field in _PUBLISHED_KEYS:
        published = {m: PUBLISHED[m][field] for m in _methods(values) if field in PUBLISHED[m]}
        if field in values or not published or why_no_effect(field, _known(values, unsure)):
            continue
        values[field] = next(iter(published.values()))
        parent, _ = APPLIES_WHEN.get(field, (None, ()))
        if len(set(published.values())) > 1 and not unsure & {field, parent}:
            unsure.add(field)
            faults.append(Fault(f"training.{field}", _no_one_default(values, published)))
    known = _known(values, unsure)
    for field in APPLIES_WHEN:
        if field in values and (why := why_no_effect(field, known)):
            faults.append(Fault(f"training.{field}", why))
    return type(given).model_validate({**_defaults(), **values}), faults


def _possible(value: Any) -> tuple[Any, ...]:
    return value.choice if isinstance(value, Choice) else (value,)


def _methods(values: Mapping[str, Any]) -> Iterator[str]:
    for loss in _possible(values["loss"]):
        if loss == "wasserstein":
            yield from _possible(values["constraint"])
        else:
            yield loss


def _known(values: Mapping[str, Any], unsure: Collection[str]) -> dict[str, tuple[Any, ...]]:
    """The values that each parent may take, without the parents of which nothing is concluded."""
    parents = {parent for parent, _ in APPLIES_WHEN.values()} - set(unsure)
    return {parent: _possible(values.get(parent)) for parent in parents}


def _no_one_default(values: Mapping[str, Any], published: Mapping[str, Any]) -> str:
    searched = [key for key in ("loss", "constraint") if len(_possible(values.get(key))) > 1]
    by = ", ".join(f"{value} under {method}" for method, value in published.items())
    which = f"{' and '.join(searched)} {'is' if len(searched) == 1 else 'are'} searched"
    return f"has no one default while {which} ({by}): give it"


def _defaults() -> dict[str, Any]:
    """Defaults that are the same under every method."""
    fields = TrainingConfig.model_fields
    return {field: fields[field].default for field in fields if field not in APPLIES_WHEN}
