"""A searched value: a range of numbers or a choice, wherever a fixed value may stand.

A section of :mod:`trainables.config` becomes searchable by :func:`searchable`, which lets every
field hold either its value or a mapping that says where to look for it.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Generic, Literal, TypeVar, Union, get_args, get_origin

from pydantic import Discriminator, Field, Tag, create_model, field_validator, model_validator
from pydantic.fields import FieldInfo

from trainables.config import Frozen

T = TypeVar("T")

#: Union tags that pydantic puts into an error's location; no part of what the user wrote.
TAGS = ("fixed value", "range", "choice")


class Range(Frozen, Generic[T]):
    """Numbers from ``low`` to ``high``, both included; ``log`` draws their logarithm uniformly."""

    low: T
    high: T
    log: bool = Field(default=False, strict=True)

    @model_validator(mode="after")
    def _is_a_range(self) -> "Range[T]":
        if not self.low < self.high:  # type: ignore[operator]
            raise ValueError(
                f"low must be below high, got low {self.low} and high {self.high}: "
                "swap or widen them, or give one fixed value"
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
        if len(set(choice)) != len(choice):
            raise ValueError(f"must list each value once, got {list(choice)}")
        return choice


Domain = Range[Any] | Choice[Any]


def is_integer(domain: Range[Any]) -> bool:
    """Whether the range is one of whole numbers."""
    return isinstance(domain.low, int)


def grid(domain: Domain) -> tuple[Any, ...] | None:
    """All the values of a domain, or ``None`` where there is no end of them."""
    if isinstance(domain, Choice):
        return domain.choice
    return tuple(range(domain.low, domain.high + 1)) if is_integer(domain) else None


def _tag(value: object) -> str:
    if isinstance(value, Choice) or (isinstance(value, Mapping) and "choice" in value):
        return "choice"
    return "range" if isinstance(value, Range | Mapping) else "fixed value"


def _searchable_field(field: FieldInfo) -> tuple[Any, FieldInfo]:
    value_type = field.annotation
    if get_origin(value_type) is Union or type(None) in get_args(value_type):
        (value_type,) = (t for t in get_args(value_type) if t is not type(None))
    if field.metadata:
        value_type = Annotated[(value_type, *field.metadata)]  # type: ignore[valid-type]
    options = [
        Annotated[value_type, Tag("fixed value")],
        Annotated[Choice[value_type], Tag("choice")],
    ]
    if get_origin(value_type) is not Literal:
        options.append(Annotated[Range[value_type], Tag("range")])
    union = Annotated[Union[tuple(options)], Discriminator(_tag)]  # noqa: UP007
    return union, Field(field.default, description=field.description)


def searchable(section: type[Frozen], doc: str) -> type[Frozen]:
    """The same section, each of whose fields may also hold a range or a choice of values."""
    fields: dict[str, Any] = {
        name: _searchable_field(field) for name, field in section.model_fields.items()
    }
    return create_model(f"Searchable{section.__name__}", __base__=Frozen, __doc__=doc, **fields)
