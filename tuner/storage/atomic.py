"""Replace a file as a whole, or read one that another process may be replacing."""

import json
import os
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
    """Replace a file as a whole: a reader, also after a crash, sees the old text or the new."""
    scratch = path.with_name(f".{path.name}.tmp")
    with scratch.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
