"""What the errors that end a command say, as the source writes it."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: The errors whose text is written for the user, and the position of that text in their arguments.
#: The faults of a section of a search space are its ValueErrors.
_ERRORS = {
    "Fault": 1, "Halted": 0, "BadData": 1, "BadNetwork": 1, "CodeNotAllowed": 1, "ExportError": 0,
    "DamagedCheckpointError": 1, "ArgumentTypeError": 0, "ValueError": 0, "halt": 0,
}  # fmt: skip
#: How a rule begins, also in a function that returns it to its caller.
_RULES = ("must ", "cannot ", "has no ", "is required", "no such ")
#: A shorter text names nothing.
_SHORTEST = 12


def phrases() -> Iterator[tuple[str, str]]:
    """Yield the longest part without a value of each text of a message, with the text's file."""
    for package in ("tuner", "trainables"):
        for path in sorted((ROOT / package).rglob("*.py")):
            texts = of_source(path.read_text(encoding="utf-8"))
            longest = (max(map(str.strip, parts), key=len) for parts in texts)
            for phrase in dict.fromkeys(longest):
                if len(phrase) >= _SHORTEST:
                    yield str(path.relative_to(ROOT)), " ".join(phrase.split())


def of_source(source: str) -> list[list[str]]:
    """Return the texts of a module's messages, each as its parts between values."""
    module = ast.parse(source)
    return [*_of_errors(module, {}), *_rules(module)]


def _of_errors(node: ast.AST, names: Mapping[str, list[ast.expr]]) -> Iterator[list[str]]:
    """Yield the texts in the arguments of errors, those that a name stands for included."""
    for child in ast.iter_child_nodes(node):
        is_function = isinstance(child, ast.FunctionDef)
        yield from _of_errors(child, _assigned(child) if is_function else names)
        if not isinstance(child, ast.Call):
            continue
        name = getattr(child.func, "id", getattr(child.func, "attr", ""))
        position = _ERRORS.get(name, len(child.args))
        for argument in child.args[position : position + 1]:
            yield from _texts(argument, names)


def _assigned(function: ast.AST) -> dict[str, list[ast.expr]]:
    values: dict[str, list[ast.expr]] = {}
    for node in ast.walk(function):
        targets = node.targets if isinstance(node, ast.Assign) else ()
        targets = [node.target] if isinstance(node, ast.AugAssign) else targets
        for target in targets:
            pairs = [(target, node.value)]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = list(zip(target.elts, node.value.elts, strict=True))
            for name, value in pairs:
                values.setdefault(getattr(name, "id", ""), []).append(value)
    return values


def _texts(node: ast.AST, names: Mapping[str, list[ast.expr]]) -> Iterator[list[str]]:
    if isinstance(node, ast.Name):
        others = {name: values for name, values in names.items() if name != node.id}
        for value in names.get(node.id, ()):
            yield from _texts(value, others)
    elif (parts := _parts(node)) is not None:
        yield parts
        for child in ast.walk(node):
            if isinstance(child, ast.FormattedValue):
                yield from _texts(child.value, names)
    elif isinstance(node, ast.BinOp | ast.IfExp):
        for child in ast.iter_child_nodes(node):
            yield from _texts(child, names)


def _rules(module: ast.AST) -> Iterator[list[str]]:
    for node in ast.walk(module):
        parts = _parts(node)
        if parts is not None and parts[0].startswith(_RULES):
            yield parts


def _parts(node: ast.AST) -> list[str] | None:
    """Return a text's parts between its values; ``None`` for what is no text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.JoinedStr):
        return [str(part.value) for part in node.values if isinstance(part, ast.Constant)] or [""]
    return None
