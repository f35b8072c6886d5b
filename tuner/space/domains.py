"""Domains of searched values: a range of numbers, or a choice.

:func:`searchable` makes a section of :mod:`trainables.config` searchable: each of its fields may
then hold a fixed value or a domain.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, Generic, TypeVar, Union, get_args, get_origin

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    create_model,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo

from trainables.config import Argument, Frozen, Real, Whole, plain_integer, plain_number

T = TypeVar("T")


def label(value: Any) -> Any:
    """Return a value as a sampler knows it: a list as text, as Optuna has no choice of lists."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | tuple) else value


class Range(Frozen, Generic[T]):
    """Numbers from ``low`` to ``high``, both included; with ``log``, uniform in their logarithm."""

    low: T
    high: T
    log: bool = Field(default=False, strict=True)

    @model_validator(mode="after")
    def _is_a_range(self) -> "Range[T]":
        if not self.low < self.high:  # type: ignore[operator]
            raise ValueError(
                f"low must be below high, got low {self.low} and high {self.high}: "
                "swap or change them, or give one fixed value"
            )
        if self.log and not self.low > 0:  # type: ignore[operator]
            raise ValueError(
                f"low must be above 0 on a log scale, got {self.low}: "
                "give a small positive low, or leave log out"
            )
        return self


class Choice(Frozen, Generic[T]):
    """One of the values listed."""

    choice: tuple[T, ...]

    @field_validator("choice")
    @classmethod
    def _has_distinct_values(cls, choice: tuple[T, ...]) -> tuple[T, ...]:
        if not choice:
            raise ValueError("must list at least one value, got []")
        if len(set(map(label, choice))) != len(choice):
            raise ValueError(f"must list each value once, got {list(choice)}")
        return choice

    @property
    def labels(self) -> tuple[Any, ...]:
        """Return the values as a sampler knows them; see :func:`label`."""
        return tuple(map(label, self.choice))


Domain = Range[Any] | Choice[Any]


def is_integer(domain: Range[Any]) -> bool:
    """Return whether the range is one of whole numbers."""
    return isinstance(domain.low, int)


def grid_values(domain: Domain) -> tuple[Any, ...] | None:
    """Return all values of a domain as a sampler knows them, ``None`` for a range of reals."""
    if isinstance(domain, Choice):
        return domain.labels
    return tuple(range(domain.low, domain.high + 1)) if is_integer(domain) else None


def domain_text(domain: Domain, show: Callable[[Any], str] = str) -> str:
    """Describe a domain, its values formatted by a function."""
    if isinstance(domain, Choice):
        return "one of " + ", ".join(show(value) for value in domain.labels)
    return f"{show(domain.low)} to {show(domain.high)}" + " (log)" * domain.log


def possible_values(value: Any) -> tuple[Any, ...]:
    """Return the values of a choice; a fixed value is the only one."""
    return value.choice if isinstance(value, Choice) else (value,)


def coerce(domain: Domain, value: Any) -> Any:
    """Return the value in the domain's own type, or ``None`` if it is outside the domain."""
    if isinstance(domain, Choice):
        return next((c for c in domain.choice if is_same(c, value)), None)
    number = plain_integer(value) if is_integer(domain) else plain_number(value)
    if isinstance(number, bool) or not isinstance(number, int | float):
        return None
    if is_integer(domain) and not isinstance(number, int):
        return None
    return type(domain.low)(number) if domain.low <= number <= domain.high else None


def is_same(one: Any, value: Any) -> bool:
    """Tell whether a value is this one of a choice; text may stand for a number or a list."""
    if isinstance(one, list | tuple) and isinstance(value, str):
        return value in (str(one), label(one))
    if isinstance(one, bool) != isinstance(value, bool):  # True == 1
        return False
    return one == value or (not isinstance(one, str) and one == plain_number(value))


def _tag(value: object) -> str:
    if isinstance(value, Choice) or (isinstance(value, Mapping) and "choice" in value):
        return "choice"
    return "range" if isinstance(value, Range | Mapping) else "fixed value"


def _tag_of_argument(value: object) -> str:
    """Tell the kind of a keyword argument; a range with whole ends is one of whole numbers."""
    if (tag := _tag(value)) != "range":
        return tag
    ends = (value.low, value.high) if isinstance(value, Range) else _ends(value)
    return "whole range" if all(type(end) is int for end in ends) else "range"


def _ends(value: Any) -> tuple[object, object]:
    return value.get("low"), value.get("high")


SearchableArgument = Annotated[
    Annotated[Argument, Tag("fixed value")]
    | Annotated[Choice[Argument], Tag("choice")]
    | Annotated[Range[Whole], Tag("whole range")]
    | Annotated[Range[Real], Tag("range")],
    Discriminator(_tag_of_argument),
]


def _searchable_field(field: FieldInfo) -> tuple[Any, FieldInfo]:
    value_type = field.annotation
    if get_origin(value_type) is Union or type(None) in get_args(value_type):
        (value_type,) = (t for t in get_args(value_type) if t is not type(None))
    if get_origin(value_type) is dict:
        arguments: Any = dict[str, SearchableArgument] | None
        return arguments, FieldInfo(default=None, description=field.description)
    plain, *rules = get_args(value_type) if get_origin(value_type) is Annotated else (value_type,)
    # The validator comes last: the JSON Schema lacks bounds that follow it.
    rules = sorted((*rules, *field.metadata), key=lambda rule: isinstance(rule, BeforeValidator))
    if rules:
        value_type = Annotated[(plain, *rules)]  # type: ignore[valid-type]
    options = [
        Annotated[value_type, Tag("fixed value")],
        Annotated[Choice[value_type], Tag("choice")],
    ]
    if _has_order(value_type):
        options.append(Annotated[Range[value_type], Tag("range")])
    union = Annotated[Union[tuple(options)], Discriminator(_tag)]  # noqa: UP007
    return union, Field(field.default, description=field.description)


def _has_order(value_type: Any) -> bool:
    plain = get_args(value_type)[0] if get_origin(value_type) is Annotated else value_type
    return plain in (int, float)


def flat(section: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Yield a section's values by key, those of keyword arguments by ``generator_args.name``."""
    for field, value in section:
        if isinstance(value, Mapping):
            yield from ((f"{field}.{name}", inner) for name, inner in value.items())
        else:
            yield field, value


def searchable(section: type[Frozen], doc: str) -> type[Frozen]:
    """Return a section class whose fields may also hold a range or a choice of values."""
    fields: dict[str, Any] = {
        name: _searchable_field(field) for name, field in section.model_fields.items()
    }
    return create_model(f"Searchable{section.__name__}", __base__=Frozen, __doc__=doc, **fields)
