"""Paths as users write them, with ``~`` and environment variables."""

import os
import re

#: The scheme of a URI; a path has none.
URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/")
#: In the names of options and of variables that hold secrets.
SECRET_NAME = re.compile(r"key|secret|token|passw|pwd|sas|sig|credential(?!_kind)", re.IGNORECASE)
#: A variable, or the "$$" that stands for a dollar sign. Any other "$" is one itself.
_VARIABLE = re.compile(r"\$(?:(\$)|([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})", re.ASCII)


def variables(text: str) -> list[str]:
    """List the environment variables that a text names as ``$NAME`` or ``${NAME}``."""
    return [match[2] or match[3] for match in _VARIABLE.finditer(text) if not match[1]]


def is_variable(text: str) -> bool:
    """Tell whether a text is one variable and nothing else."""
    match = _VARIABLE.fullmatch(text)
    return match is not None and not match[1]


def expand_variables(text: str) -> str:
    """Replace ``$NAME`` and ``${NAME}`` by the variables' values, and ``$$`` by a dollar sign.

    Raises:
        ValueError: if a variable is not set; the text is written for the user.
    """
    missing = [name for name in dict.fromkeys(variables(text)) if not os.environ.get(name)]
    if missing:
        rule = f"must name variables that are set, got {text!r}: set {' and '.join(missing)}"
        raise ValueError(f"{rule}, or write $$ for a dollar sign")
    return _VARIABLE.sub(lambda m: "$" if m[1] else os.environ[m[2] or m[3]], text)


def escape(text: str) -> str:
    """Double the dollar signs of a text, so that :func:`expand` takes none for a variable."""
    return text.replace("$", "$$")


def expand(path: str) -> str:
    """Replace a leading ``~`` or ``~user``, and variables, as in :func:`expand_variables`.

    Raises:
        ValueError: if there is no such user or variable; the text is written for the user.
    """
    expanded = expand_variables(path)
    if not path.startswith("~"):
        return expanded
    expanded = os.path.expanduser(expanded)  # noqa: PTH111  # pathlib's raises RuntimeError
    if expanded.startswith("~"):
        rule = f"must begin with the home of a user of this machine, got {path!r}"
        raise ValueError(f"{rule}: write ./{path} for a folder of that name")
    return expanded
