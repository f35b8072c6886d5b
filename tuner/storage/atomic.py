"""Replace a file as a whole, or read one that another process may be replacing."""

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

#: Only a new file is opened, and no link is followed.
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


def read_json(path: Path, kind: type) -> Any:
    """Read a JSON file that holds a ``list`` or a ``dict``; an unreadable one counts as empty."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):  # also of text that is nested too deeply
        return kind()
    return content if isinstance(content, kind) else kind()


def write_atomically(path: Path, text: str) -> None:
    """Replace a file as a whole: a reader, also after a crash, sees the old text or the new.

    What UTF-8 lacks, such as parts of a file's name, is escaped.
    """
    with replacing(path) as file:
        file.write(text.encode(errors="backslashreplace"))


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Replace a file as a whole by what the block writes, if the block ends without an exception.

    Until then it has a name that no other process uses or can foresee.
    """
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    with os.fdopen(os.open(scratch, _NEW, 0o666), "wb") as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            scratch.replace(path)
        except BaseException:
            scratch.unlink(missing_ok=True)
            raise
