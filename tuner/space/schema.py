"""Describe the keys of a search space, from the model that validates it.

``python -m tuner.schema`` prints a JSON Schema, with which an editor completes and checks keys;
``python -m tuner.schema --table`` prints the table of keys in docs/keys.md.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tuner.space.spec import SECTION_KEYS, SearchSpec
from tuner.space.yaml_file import SHORTHANDS

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_SECTIONS = [key for key, fields in SECTION_KEYS.items() if fields]


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a search space file."""
    raw = SearchSpec.model_json_schema()
    definitions = raw["$defs"]
    properties: dict[str, Any] = {
        key: _plain(value, definitions) for key, value in raw["properties"].items()
    }
    for key in _SECTIONS:
        section = properties[key]
        section.pop("default", None)
        text = section.pop("description")
        # A section whose keys are all commented out is null.
        kinds = [section, {"type": "null"}]
        if key in SHORTHANDS:
            kinds.append(section["properties"][SHORTHANDS[key]])
        properties[key] = {"description": text, "anyOf": kinds}
    return {
        "$schema": _DIALECT,
        "title": "A search of Wasserstein GANs",
        "type": "object",
        "additionalProperties": False,
        "required": ["name"],
        "properties": properties,
    }


def _plain(value: Any, definitions: Mapping[str, Any]) -> Any:
    """Return a part of pydantic's schema without titles, references and null defaults."""
    if isinstance(value, list):
        return [_plain(item, definitions) for item in value if item != {"type": "null"}]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        target = definitions[value["$ref"].removeprefix("#/$defs/")]
        return _plain({**target, **{k: v for k, v in value.items() if k != "$ref"}}, definitions)
    kept = {
        key: {name: _plain(field, definitions) for name, field in inner.items()}
        if key == "properties"
        else _plain(inner, definitions)
        for key, inner in value.items()
        if key not in ("title", "discriminator") and not (key == "default" and inner is None)
    }
    if "oneOf" in kept:  # a keyword argument may fit a range of either kind of number
        kept["anyOf"] = kept.pop("oneOf")
    alternatives = kept.get("anyOf", ())
    if len(alternatives) == 1:  # the rest of an optional value
        del kept["anyOf"]
        kept = {**alternatives[0], **kept}
    return kept


def keys_table() -> str:
    """Return a Markdown table of all keys with their values, defaults and descriptions."""
    lines = ["| key | may be | default | |", "|---|---|---|---|"]
    properties = json_schema()["properties"]
    for section in _SECTIONS:
        fields = properties[section]["anyOf"][0]["properties"]
        for key, field in fields.items():
            default = field.get("default")
            lines.append(
                f"| `{section}.{key}` | {_may_be(field)} | "
                f"{'' if default is None else _text(default)} | {field.get('description', '')} |"
            )
    return "\n".join(lines)


def _may_be(field: Mapping[str, Any]) -> str:
    kinds = field.get("anyOf") or [field]
    words = [_text(kind["const"]) for kind in kinds[1:] if "const" in kind]  # such as auto
    return " or ".join(dict.fromkeys([*_kinds(kinds[0]), *words]))


def _kinds(kind: Mapping[str, Any]) -> Iterator[str]:
    if "enum" in kind:
        yield ", ".join(_text(value) for value in kind["enum"])
    elif kind.get("type") in ("integer", "number"):
        word = "whole number" if kind["type"] == "integer" else "number"
        bounds = {
            "minimum": "at least",
            "exclusiveMinimum": "above",
            "maximum": "at most",
            "exclusiveMaximum": "below",
        }
        limits = [f"{word} {_text(kind[name])}" for name, word in bounds.items() if name in kind]
        yield " ".join([word, ", ".join(limits)]).strip()
    else:
        yield {"string": "text", "boolean": "true, false", "object": "mapping", "array": "list"}[
            kind["type"]
        ]


def _text(value: Any) -> str:
    if isinstance(value, bool | str):
        return json.dumps(value).strip('"')
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"
