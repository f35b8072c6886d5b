"""The base classes of the sections, and the types of their values as YAML writes them."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from trainables.config.methods import why_no_effect

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


def plain_number(value: object) -> object:
    """Convert a string such as ``"1e-4"`` to a number; return any other value unchanged.

    YAML 1.1 reads ``1e-4`` as a string, and only ``1.0e-4`` as a number.
    """
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return float(value)
    return value


def plain_integer(value: object) -> object:
    """Convert ``"1e3"`` and ``1000.0`` to 1000; return any other value unchanged."""
    number = plain_number(value)
    if isinstance(number, float) and number.is_integer():
        return int(number)
    return value


Real = Annotated[
    float, BeforeValidator(plain_number), Field(strict=True, allow_inf_nan=False), "number"
]
Whole = Annotated[int, BeforeValidator(plain_integer), Field(strict=True), "whole number"]
Flag = Annotated[bool, Field(strict=True)]
Text = Annotated[str, Field(strict=True, min_length=1)]
#: Every seed is below it: scikit-learn and NumPy's ``RandomState`` accept none above.
SEED_LIMIT = 2**32


class Frozen(BaseModel):
    """Base of every section: immutable, with unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Conditional(Frozen):
    """A section with keys that apply only under certain values of others, and else are ``None``.

    See ``APPLIES_WHEN`` in :mod:`trainables.config.methods`.
    """

    @classmethod
    def with_defaults(cls, given: Mapping[Any, Any]) -> Mapping[Any, Any]:
        """Add the defaults that depend on other keys; each section has its own."""
        raise NotImplementedError

    @model_validator(mode="before")
    @classmethod
    def _add_defaults(cls, given: Any) -> Any:
        return cls.with_defaults(given) if isinstance(given, Mapping) else given

    @model_validator(mode="after")
    def _refuse_keys_without_effect(self) -> "Conditional":
        values = dict(self)
        possible = {key: (value,) for key, value in values.items()}
        for key, value in values.items():
            fault = why_no_effect(key, possible)
            if fault and value is not None:
                raise ValueError(f"{key} {fault}")
        return self
