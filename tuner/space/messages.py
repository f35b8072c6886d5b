"""The messages of faults in a search space: the rule, the value and the way out."""

import difflib
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

from tuner.errors import Fault

#: Sections whose keys may be searched: pydantic's location has a union's tag after the key.
_SEARCHABLE = ("networks", "training")
#: Keys that hold keyword arguments, each of which may be searched.
_ARGUMENTS = ("generator_args", "critic_args")

#: Words of other tools for the keys of a domain.
_SYNONYMS = {
    **dict.fromkeys(("min", "lower", "start", "from"), "low"),
    **dict.fromkeys(("max", "upper", "stop", "to"), "high"),
    **dict.fromkeys(("values", "choices", "options", "categorical", "grid"), "choice"),
    **dict.fromkeys(("loguniform", "log_uniform", "log_scale"), "log"),
}

_BOUNDS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "at most"),
}
_TYPES = {
    "float_type": "must be a number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "string_unicode": "must be text that UTF-8 has",
    "tuple_type": "must be a list",
    "finite_number": "must be a finite number",
    "model_type": "must be a mapping of keys to values",
    "model_attributes_type": "must be a mapping of keys to values",
    "dict_type": "must be a mapping of keys to values",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
    "invalid_key": "keys must be text",
}

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = 100


def describe_error(
    error: Mapping[str, Any], location: Sequence[Any], keys: Mapping[str, Sequence[str]]
) -> Fault:
    """Turn an error of pydantic into a fault.

    Args:
        error: An item of ``ValidationError.errors()``.
        location: Keys and list indices down to the value, tags of unions included.
        keys: The keys of each section.
    """
    path = [str(part) for part in location]
    depth = 3 if len(path) > 1 and path[1] in _ARGUMENTS else 2
    if path[0] in _SEARCHABLE and len(path) > depth:
        del path[depth]
    where, value, kind = ".".join(path), error["input"], error["type"]
    context = error.get("ctx", {})
    if path[0] in _SEARCHABLE and len(path) == 2 and isinstance(value, list):
        shown = _shorten(value).replace("'", "")
        return Fault(
            where, f"must be one value, got a list: write {{choice: {shown}}} to search it"
        )
    if kind == "extra_forbidden":
        return Fault(where, unknown_key(path, keys))
    if kind == "missing":
        return Fault(where, "is required: give it")
    if kind in ("literal_error", "union_tag_invalid"):
        return Fault(where, _one_of(error, value))
    if kind in _BOUNDS:
        name, word = _BOUNDS[kind]
        bound = context[name]
        bound = int(bound) if bound == int(bound) else bound
        return Fault(where, f"must be {word} {bound}, got {value!r}")
    if kind in _TYPES:
        return Fault(where, f"{_TYPES[kind]}, got {_shorten(value)}")
    if kind == "string_pattern_mismatch":
        rule = "must be letters, digits, '.', '_' and '-', and start with a letter or digit"
        return Fault(where, f"{rule}, 100 characters at most, got {_shorten(value)}")
    return Fault(where, error["msg"].removeprefix("Value error, "))


def without_echoes(errors: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Drop the errors of keys that are missing only because they have another tool's name.

    Args:
        errors: ``ValidationError.errors()`` of one section.
    """
    unknown = [e["loc"] for e in errors if e["type"] == "extra_forbidden"]
    meant = {
        (*location[:-1], key)
        for location in unknown
        if (name := _SYNONYMS.get(str(location[-1])))
        for key in (("low", "high") if name == "choice" else (name,))
    }
    return [e for e in errors if e["type"] != "missing" or e["loc"] not in meant]


def unknown_key(path: Sequence[str], keys: Mapping[str, Sequence[str]]) -> str:
    """Return the message for an unknown key, with the key that was probably meant."""
    key, section = path[-1], path[0]
    siblings = list(keys) if len(path) == 1 else list(keys.get(section, ()))
    if section == "initial_points":
        siblings = list(_SEARCHABLE)
    elif len(path) > 2:
        siblings = ["low", "high", "log", "choice"]
        if key in _SYNONYMS:
            return f"no such key; did you mean {_SYNONYMS[key]}?"
        if key in siblings:
            return "cannot be combined with choice: give either a range or a choice"
    elsewhere = [f"{other}.{key}" for other in keys if other != section and key in keys[other]]
    near = elsewhere or difflib.get_close_matches(key, siblings, n=1, cutoff=0.5)
    if near:
        return f"no such key; did you mean {near[0]}?"
    return f"no such key; known here: {', '.join(siblings)}"


def _one_of(error: Mapping[str, Any], value: Any) -> str:
    if error["type"] == "union_tag_invalid":
        return f"has no order to take a range from: list values with choice, got {_shorten(value)}"
    options = error["ctx"]["expected"].replace("'", "")
    names = options.replace(" or ", ", ").split(", ")
    near = difflib.get_close_matches(value, names, n=1) if isinstance(value, str) else []
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"must be {options}, got {_shorten(value)}{hint}"


def _shorten(value: Any) -> str:
    text = _REPR.repr(value)  # bounded: a few YAML aliases make a value that fills the memory
    return text if len(text) <= 80 else f"{text[:77]}..."
