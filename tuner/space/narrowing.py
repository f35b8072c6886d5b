"""Narrow a search space to where the best trials of a search lie."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from tuner.space.defaults import keys_without_effect
from tuner.space.domains import Choice, Domain, Range, coerce, is_integer, is_same
from tuner.space.ends import End, end_of, limited, on_scale
from tuner.space.spec import SearchSpec

#: Shares of the old range: what is added on both sides of the best values, the least width of the
#: new range, and how far it goes past an old end.
_MARGIN, _LEAST, _PAST = 0.1, 0.25, 0.25
#: New ends have so many significant digits.
_DIGITS = 2
#: Keys that are not widened, since the data, or a class of the user's own, limits them.
_LIMITED_ELSEWHERE = ("training.batch_size", "networks.generator_args.", "networks.critic_args.")


@final
@dataclass(frozen=True)
class Change:
    """What becomes of a searched key.

    ``after`` is a domain, or the one value at which the key is fixed; ``None`` if it is left out.
    ``note`` explains the rest.
    """

    key: str
    before: Domain
    after: Any
    note: str = ""


def narrow(
    spec: SearchSpec, best: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Any], list[Change]]:
    """Narrow the searched keys of a search to the values of its best trials.

    Args:
        spec: The search.
        best: The searched values of its best trials by dotted key, of at least one trial, the best
            first. A key that did not apply to a trial is missing.

    Returns:
        The next search as plain data, with the best trial as its only initial point, and how each
        searched key changed.
    """
    changes = [
        _narrowed(key, domain, [values[key] for values in best if key in values])
        for key, domain in spec.domains.items()
    ]
    fields = {f: value for name in ("training", "networks") for f, value in getattr(spec, name)}
    new = {change.key.split(".", 1)[1]: change.after for change in changes}
    unused = keys_without_effect({**fields, **new})
    document = spec.resolved()
    for name in ("training", "networks"):
        document[name] = {key: v for key, v in document[name].items() if key not in unused}
    for i, change in enumerate(changes):
        section, field, *argument = change.key.split(".", 2)
        if field in unused:
            note = "left out, as none of the values above uses it"
            changes[i] = Change(change.key, change.before, None, note)
        elif argument:
            document[section][field] |= {argument[0]: _plain(change.after)}
        else:
            document[section][field] = _plain(change.after)
    # A grid has no initial points: it tries all.
    document["initial_points"] = [] if spec.search.sampler == "grid" else [_point(changes, best[0])]
    return document, changes


def _narrowed(key: str, domain: Domain, values: Sequence[Any]) -> Change:
    """Narrow a domain to values, the best trial's first."""
    if not values:
        return Change(key, domain, domain, "as before: none of the best trials has it")
    if isinstance(domain, Choice):
        seen = tuple(one for one in domain.choice if any(is_same(one, v) for v in values))
        if len(seen) == 1 and seen[0] is not None:
            return Change(key, domain, seen[0], "the only one of the best trials")
        return Change(key, domain, Choice(choice=seen))
    numbers = [coerce(domain, value) for value in values]
    end = end_of(key, domain, numbers[0])
    note = ""
    if end is not None:
        place = (
            f"{numbers[0]:.4g} of the best is at the {'upper' if end == 'high' else 'lower'} end"
        )
        is_widened = not key.startswith(_LIMITED_ELSEWHERE)
        note = (
            f"widened: {place}" if is_widened else f"{place}: widen it if your data and code allow"
        )
        end = end if is_widened else None
    return Change(key, domain, _around(key, domain, numbers, end), note)


def _around(
    key: str, domain: Range[Any], numbers: Sequence[float], widened: End | None
) -> Range[Any]:
    """Return a range around numbers, within the old one but for the end that is widened."""
    low, high = on_scale(domain, domain.low), on_scale(domain, domain.high)
    positions = [on_scale(domain, number) for number in numbers]
    width = high - low
    new_low, new_high = min(positions) - _MARGIN * width, max(positions) + _MARGIN * width
    lack = max(0.0, _LEAST * width - (new_high - new_low)) / 2
    new_low, new_high = max(low, new_low - lack), min(high, new_high + lack)
    # Where the old range cut something off, the other side gets it.
    new_low = min(new_low, high - _LEAST * width)
    new_high = max(new_high, low + _LEAST * width)
    ends = {
        "low": low - _PAST * width if widened == "low" else new_low,
        "high": high + _PAST * width if widened == "high" else new_high,
    }
    new = {end: _end(key, domain, end, at, widened == end) for end, at in ends.items()}
    return type(domain)(**new, log=domain.log)


def _end(key: str, domain: Range[Any], end: Any, position: float, is_widened: bool) -> float:
    """Return an end as a round number, at most a little farther out than its position."""
    number = math.exp(position) if domain.log else position
    outwards = math.floor if end == "low" else math.ceil
    if is_integer(domain):
        rounded = outwards(round(number, 6))
    else:
        unit = abs(number) if domain.log else min(abs(number), domain.high - domain.low)
        decimals = _DIGITS - 1 - math.floor(math.log10(unit)) if unit else 0
        shifted = round(number * 10.0**decimals, 6)
        rounded = round(outwards(shifted) / 10.0**decimals, max(decimals, 0))
    if is_widened:
        limit = limited(key, domain, end, rounded)
        return outwards(limit) if is_integer(domain) else limit
    old = getattr(domain, end)
    return max(old, rounded) if end == "low" else min(old, rounded)


def _plain(domain: Any) -> Any:
    if isinstance(domain, Range):
        ends = {"low": domain.low, "high": domain.high}
        return {**ends, "log": True} if domain.log else ends
    return {"choice": list(domain.choice)} if isinstance(domain, Choice) else domain


def _point(changes: Sequence[Change], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a trial that the next search still searches, as an initial point."""
    point: dict[str, Any] = {}
    for change in changes:
        if change.key not in values or not isinstance(change.after, Range | Choice):
            continue
        section, field, *argument = change.key.split(".", 2)
        value = values[change.key]
        if isinstance(change.after, Choice):
            value = next(one for one in change.after.choice if is_same(one, value))
        inner = point.setdefault(section, {})
        if argument:
            inner.setdefault(field, {})[argument[0]] = value
        else:
            inner[field] = value
    return point
