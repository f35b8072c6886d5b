"""The base of every section, and numbers as YAML writes them."""

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from trainables.config.methods import (
    why_no_effect,
)

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


def plain_number(value: object) -> object:
    """Read ``"1e-4"`` as the number it plainly is: YAML 1.1 makes it a string (``1.0e-4`` not)."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return float(value)
    return value


def plain_integer(value: object) -> object:
    """Read ``"1e3"`` and ``1000.0`` as 1000; leave what is not a whole number to be refused."""
    number = plain_number(value)
    if isinstance(number, float) and number.is_integer():
        return int(number)
    return value


Real = Annotated[
    float, BeforeValidator(plain_number), Field(strict=True, allow_inf_nan=False), "number"
]
#: Every generator here takes a seed below it.
SEED_LIMIT = 2**32
Whole = Annotated[int, BeforeValidator(plain_integer), Field(strict=True), "whole number"]


class Frozen(BaseModel):
    """Base of every section: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Conditional(Frozen):
    """A section some of whose keys exist only under others' values: else they are ``None``."""

    @model_validator(mode="after")
    def _refuse_what_does_not_apply(self) -> "Conditional":
        own = type(self).model_fields
        possible = {key: (getattr(self, key),) for key in own}
        for key in own:
            why = why_no_effect(key, possible)
            if why and getattr(self, key) is not None:
                raise ValueError(f"{key} {why}")
        return self
