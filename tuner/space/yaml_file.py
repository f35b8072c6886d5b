"""Load a YAML file as plain data: safely, refusing duplicate keys and applying overrides.

PyYAML reads YAML 1.1, in which ``1e-4`` is text, ``0100`` is 64 and ``8:00`` is 480. Here the first
is a number, as in YAML 1.2, and the others are refused. Text in quotes is always text.
"""

import re
import reprlib
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tuner.errors import BadInput, Fault

#: The limit for a file: a search space is a page of text, and a larger file is a mistake.
MAX_BYTES = 1_000_000
#: The limit for its values, once its aliases are written out: few aliases of aliases stand for more
#: values than any memory holds.
MAX_VALUES = 100_000

#: Sections that may be written as plain text, and the key that the text is the value of.
SHORTHANDS = {"objective": "name"}

#: Numbers that YAML 1.1 takes for text, for want of a point or of a sign.
_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
#: A leading zero, which YAML 1.1 takes for base 8, and colons, which it takes for base 60.
_LEADING_ZERO = re.compile(r"[-+]?0[\d_]+(\.\d*)?")
_COLONS = re.compile(r"[-+]?\d[\d_]*(:[0-5]?\d)+(\.\d*)?")
#: Larger floats do not hold every whole number.
_LARGEST_WHOLE = 2**53

#: Errors of PyYAML for a text that does not fit its tag, such as ``!!bool x`` or ``2020-13-45``.
_MISFITS = (AttributeError, LookupError, RecursionError, ValueError)


class _Loader(yaml.SafeLoader):
    """A safe loader that reads ``1e-4`` as a number."""


class _Dumper(yaml.SafeDumper):
    """A safe dumper that quotes all text that the loader would not read as that text."""


def _number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float | int:
    """Read a number; ``1e3`` is whole, as the keyword argument of a network may have to be."""
    number = loader.construct_yaml_float(node)
    is_whole = "." not in node.value and number.is_integer() and abs(number) <= _LARGEST_WHOLE
    return int(number) if is_whole else number


def _quoted(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    patterns = (_EXPONENT, _LEADING_ZERO, _COLONS)
    style = "'" if any(pattern.fullmatch(text) for pattern in patterns) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_FLOAT = "tag:yaml.org,2002:float"
_Loader.add_implicit_resolver(_FLOAT, re.compile(f"({_EXPONENT.pattern})$"), list("-+.0123456789"))
_Loader.add_constructor(_FLOAT, _number)
_Dumper.add_representer(str, _quoted)


def dump_yaml(document: Any, *, allow_unicode: bool = False) -> str:
    """Write plain data as text that :func:`load_yaml` reads as the same data."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=allow_unicode)


def parse_yaml(text: str) -> Any:
    """Read a text as plain data, without a check.

    Raises:
        yaml.YAMLError: if it is not YAML.
        ValueError: or another error, if a value does not fit its tag, or there are too many.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _num_values(node, {}) > MAX_VALUES:
            rule = f"must stand for at most {MAX_VALUES:,} values, its aliases written out"
            raise ValueError(f"{rule}, got more: use fewer aliases")
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _num_values(node: yaml.Node, counted: dict[int, int]) -> int:
    """Count the values that a node stands for, each alias as all that it is an alias of."""
    if id(node) not in counted:
        counted[id(node)] = 1  # for an alias to its own parent
        inner = node.value if isinstance(node, yaml.CollectionNode) else ()
        below = (one for item in inner for one in (item if isinstance(item, tuple) else (item,)))
        counted[id(node)] = 1 + sum(_num_values(one, counted) for one in below)
    return counted[id(node)]


def load_yaml(
    path: Path, overrides: Sequence[str] | Mapping[str, Any] = ()
) -> tuple[dict[str, Any], list[Fault]]:
    """Load the mapping of a file and apply overrides.

    Args:
        path: The file.
        overrides: ``dotted.key=value`` texts, or values by dotted key.

    Returns:
        The mapping, and the faults of duplicate keys, unclear numbers and overrides.

    Raises:
        BadInput: if the file cannot be read as a mapping.
    """
    try:
        text = _text(path)
        root = yaml.compose(text, Loader=_Loader)
        unclear = [*_duplicate_keys(root), *_unclear_numbers(root, ())]
        document = parse_yaml(text)
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
    return document, [*unclear, *override(document, overrides)]


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
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) and not path.is_dir():  # a pipe may block for ever
            raise BadInput(str(path), [Fault("", "is a pipe or a device: give a regular file")])
        if (size := status.st_size) > MAX_BYTES:
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


def _duplicate_keys(root: yaml.Node | None) -> list[Fault]:
    """List keys that are given twice: a loader would silently keep the last one."""
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


def _unclear_numbers(root: yaml.Node | None, prefix: tuple[str, ...]) -> list[Fault]:
    """List the numbers that YAML 1.1 reads otherwise than most people do."""
    return [
        Fault(".".join(path), message)
        for path, node in (_scalars(root, prefix, set()) if root else ())
        if node.style is None and (message := _unclear(node.value)) is not None
    ]


def _unclear(text: str) -> str | None:
    if _LEADING_ZERO.fullmatch(text):
        digits = text.lstrip("+-").lstrip("0_")
        number = text[: text.startswith(("-", "+"))] + (
            digits if digits[:1].isdigit() else f"0{digits}"
        )
        rule, meant = "must not start with 0, which YAML takes for base 8", f"write {number}"
    elif _COLONS.fullmatch(text):
        rule = "must not have colons, which YAML takes for base 60"
        meant = f"write {parse_yaml(text)}, if that is meant"
    else:
        return None
    return f"{rule}, got {text}: {meant}, or '{text}' in quotes for a text"


def _scalars(
    node: yaml.Node, prefix: tuple[str, ...], seen: set[int]
) -> Iterator[tuple[tuple[str, ...], yaml.ScalarNode]]:
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.ScalarNode):
        yield prefix, node
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _scalars(value, (*prefix, str(key.value)), seen)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _scalars(item, (*prefix, str(index)), seen)


def _override(document: dict[str, Any], text: str) -> list[Fault]:
    key, equals, value = text.partition("=")
    if not equals or not all(key.strip().split(".")):
        return [Fault("--set", f"must read dotted.key=value, got {text!r}")]
    try:
        faults = _unclear_numbers(yaml.compose(value, Loader=_Loader), (f"--set {key.strip()}",))
        parsed = parse_yaml(value)
    except (yaml.YAMLError, *_MISFITS):
        return [Fault(f"--set {key}", f"value must be YAML, got {value!r}: quote it")]
    return [*faults, *_put(document, key.strip(), parsed)]


def _no_section(section: str, value: Any, key: str) -> str:
    """Describe a section that an override would replace, together with its fault."""
    got = reprlib.repr(value)
    return f"must be a mapping of keys to values to set {key} in it, got {got}: correct {section}"


def _put(document: dict[str, Any], key: str, value: Any) -> list[Fault]:
    parts = key.split(".") if isinstance(key, str) else [""]
    if not all(parts):
        return [Fault("overrides", f"must have dotted keys such as data.path, got {key!r}")]
    inner = document
    for part in parts[:-1]:
        below: Any = inner.get(part)
        if inner is document and isinstance(below, str) and part in SHORTHANDS:
            below = {SHORTHANDS[part]: below}
        if below is not None and not isinstance(below, dict):
            if inner is document:
                return [Fault(part, _no_section(part, below, key))]
            below = None  # a fixed value, in whose place there is a domain or a list of arguments
        inner[part] = below = dict(below or {})
        inner = below
    inner[parts[-1]] = value
    return []
