"""Load a YAML file as plain data: safely, refusing duplicate keys and applying overrides."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tuner.errors import BadInput, Fault

#: The limit for a file: a search space is a page of text, and a larger file is a mistake.
MAX_BYTES = 1_000_000

#: Sections that may be written as plain text, and the key that the text is the value of.
SHORTHANDS = {"objective": "name"}

#: Errors of PyYAML for a text that does not fit its tag, such as ``!!bool x`` or ``2020-13-45``.
_MISFITS = (AttributeError, LookupError, RecursionError, ValueError)


def load_yaml(
    path: Path, overrides: Sequence[str] | Mapping[str, Any] = ()
) -> tuple[dict[str, Any], list[Fault]]:
    """Load the mapping of a file and apply overrides.

    Args:
        path: The file.
        overrides: ``dotted.key=value`` texts, or values by dotted key.

    Returns:
        The mapping, and the faults of duplicate keys and of overrides.

    Raises:
        BadInput: if the file cannot be read as a mapping.
    """
    try:
        text = _text(path)
        duplicates = _duplicate_keys(text)
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BadInput(str(path), [_broken(error)]) from error
    except _MISFITS as error:
        message = f"cannot be read as YAML ({error}): correct it"
        raise BadInput(str(path), [Fault("", message)]) from error
    if document is None:
        document = {}
    if not isinstance(document, dict):
        rule = f"must be a mapping of keys to values, got {type(document).__name__}"
        raise BadInput(str(path), [Fault("", f"{rule}: see search_spaces/gp.yaml")])
    return document, [*duplicates, *override(document, overrides)]


def override(document: dict[str, Any], overrides: Sequence[str] | Mapping[str, Any]) -> list[Fault]:
    """Replace values of a document in place, and return the faults of the overrides.

    Args:
        document: The mapping.
        overrides: ``dotted.key=value`` texts, or values by dotted key.
    """
    if isinstance(overrides, Mapping):
        return [fault for key, value in overrides.items() for fault in _put(document, key, value)]
    return [fault for text in overrides for fault in _override(document, text)]


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            size = path.stat().st_size
            message = f"must be at most {MAX_BYTES:,} bytes, got {size:,}: give a search space"
            raise BadInput(str(path), [Fault("", message)])
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = sorted(p.name for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        hint = f"; in {path.parent} there are {', '.join(near[:9])}" if near else ""
        raise BadInput(str(path), [Fault("", f"no such file{hint}")]) from None
    except UnicodeDecodeError:
        raise BadInput(str(path), [Fault("", "is not UTF-8 text: save it as UTF-8")]) from None
    except OSError as error:
        raise BadInput(str(path), [Fault("", f"cannot be read: {error.strerror}")]) from None


def _broken(error: yaml.YAMLError) -> Fault:
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    problem = getattr(error, "problem", None) or str(error).replace("\n", " ")
    return Fault(where, f"is not YAML: {problem}; check the indentation, brackets and quotes there")


def _duplicate_keys(text: str) -> list[Fault]:
    """List keys that are given twice: ``safe_load`` would silently keep the last one."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    faults = []
    for prefix, mapping in _mappings(root, (), set()) if root else ():
        lines: dict[str, int] = {}
        for key, _ in mapping.value:
            line = key.start_mark.line + 1
            if not isinstance(key.value, str):
                continue
            if key.value in lines:
                message = f"is given twice, on lines {lines[key.value]} and {line}: keep one"
                faults.append(Fault(".".join((*prefix, key.value)), message))
            lines[key.value] = line
    return faults


def _mappings(
    node: yaml.Node, prefix: tuple[str, ...], seen: set[int]
) -> Iterator[tuple[tuple[str, ...], yaml.MappingNode]]:
    if id(node) in seen:  # an alias may point to its own parent
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        yield prefix, node
        for key, value in node.value:
            yield from _mappings(value, (*prefix, str(key.value)), seen)


def _override(document: dict[str, Any], text: str) -> list[Fault]:
    key, equals, value = text.partition("=")
    if not equals or not all(key.strip().split(".")):
        return [Fault("--set", f"must read dotted.key=value, got {text!r}")]
    try:
        parsed = yaml.safe_load(value)
    except (yaml.YAMLError, *_MISFITS):
        return [Fault(f"--set {key}", f"value must be YAML, got {value!r}: quote it")]
    return _put(document, key.strip(), parsed)


def _put(document: dict[str, Any], key: str, value: Any) -> list[Fault]:
    parts = key.split(".") if isinstance(key, str) else [""]
    if not all(parts):
        return [Fault("overrides", f"must have dotted keys such as data.path, got {key!r}")]
    inner = document
    for part in parts[:-1]:
        below: Any = inner.get(part)
        if inner is document and isinstance(below, str) and part in SHORTHANDS:
            below = {SHORTHANDS[part]: below}
        inner[part] = below = dict(below) if isinstance(below, dict) else {}
        inner = below
    inner[parts[-1]] = value
    return []
