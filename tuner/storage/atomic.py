"""Replace a file as a whole, or read one that another process may be replacing."""

import json
import os
import secrets
from pathlib import Path
from typing import Any


def read_json(path: Path, kind: type) -> Any:
    """Read a JSON file that holds a ``list`` or a ``dict``; an unreadable one counts as empty."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return kind()
    return content if isinstance(content, kind) else kind()


def write_atomically(path: Path, text: str) -> None:
    """Replace a file as a whole: a reader, also after a crash, sees the old text or the new.

    The scratch file is a new one: a symbolic link that another user has put there is not followed.
    What UTF-8 lacks, such as parts of a file's name, is escaped.
    """
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with scratch.open("x", encoding="utf-8", errors="backslashreplace", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
