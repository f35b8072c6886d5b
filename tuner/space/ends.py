"""The ends of a searched range: which one a value lies at, and how far the range may go past it."""

import math
from collections.abc import Iterator
from typing import Any, Literal

from annotated_types import Ge, Gt, Le, Lt

from trainables.config import NetworkConfig, TrainingConfig
from tuner.space.domains import Range, is_integer

End = Literal["low", "high"]
#: A value within this share of its range from an end counts as at the end.
_EDGE = 0.05
#: Keys whose use ends below the bound of their schema.
_DECAYS, _SLOWEST_DECAY = ("beta1", "beta2", "ema_decay"), 0.9


def end_of(key: str, domain: Range[Any], value: float) -> End | None:
    """Return the end of a range at which a value lies; ``None`` if that end is the key's own.

    Args:
        key: The dotted key.
        domain: The range.
        value: A value in it.
    """
    end: End | None
    if is_integer(domain):
        end = "low" if value == domain.low else "high" if value == domain.high else None
    else:
        share = share_of(domain, value)
        end = "low" if share <= _EDGE else "high" if share >= 1 - _EDGE else None
    return None if end is None or _is_last(key, domain, end) else end


def share_of(domain: Range[Any], value: float) -> float:
    """Return the position of a value in its range, from 0 at the low end to 1 at the high end."""
    low, high = on_scale(domain, domain.low), on_scale(domain, domain.high)
    return (on_scale(domain, value) - low) / (high - low)


def on_scale(domain: Range[Any], value: float) -> float:
    """Return a value on the scale on which the range is drawn from evenly."""
    return math.log(value) if domain.log else float(value)


def limited(key: str, domain: Range[Any], end: End, moved: float) -> float:
    """Return a new end for a range, moved past the old one, as far as the key's bounds allow.

    A bound that the key may not reach is approached by half of the distance.

    Args:
        key: The dotted key.
        domain: The range.
        end: The end.
        moved: Where it should be.
    """
    old = getattr(domain, end)
    for bound in _bounds(key):
        if isinstance(bound, Ge) and end == "low":
            moved = max(moved, _number(bound.ge))
        elif isinstance(bound, Le) and end == "high":
            moved = min(moved, _number(bound.le))
        elif isinstance(bound, Gt) and end == "low" and moved <= _number(bound.gt):
            moved = (old + _number(bound.gt)) / 2
        elif isinstance(bound, Lt) and end == "high" and moved >= _number(bound.lt):
            moved = (old + _number(bound.lt)) / 2
    return moved


def _is_last(key: str, domain: Range[Any], end: End) -> bool:
    """Tell whether the key has no values past this end, as a decay below 0."""
    if key.split(".", 1)[1] in _DECAYS and end == "high" and domain.high >= _SLOWEST_DECAY:
        return True
    bounds = {"low": [b.ge for b in _bounds(key) if isinstance(b, Ge)],
              "high": [b.le for b in _bounds(key) if isinstance(b, Le)]}  # fmt: skip
    return getattr(domain, end) in bounds[end]


def _bounds(key: str) -> Iterator[Any]:
    name = key.split(".", 1)[1]
    field = {**TrainingConfig.model_fields, **NetworkConfig.model_fields}.get(name)
    yield from getattr(field, "metadata", ())
    for inner in getattr(getattr(field, "annotation", None), "__args__", ()):
        yield from getattr(inner, "__metadata__", ())


def _number(bound: Any) -> float:
    return float(bound)
