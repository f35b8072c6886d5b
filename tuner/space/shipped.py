"""The search spaces that come with this program, which a search may name."""

import os
from collections.abc import Mapping
from pathlib import Path

from tuner.errors import BadInput, Fault

#: In a checkout a link to the folder ``search_spaces``, whose files a wheel has in its place.
FOLDER = Path(__file__).parents[1] / "search_spaces"


def shipped_spaces() -> Mapping[str, Path]:
    """Return the files by name, such as ``gp``."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}


def find_space(space: Path) -> Path:
    """Return a search space's file: the one at this path, else the shipped one of this name.

    Raises:
        BadInput: if it is a name and no path, and there is neither.
    """
    is_name = space.name == str(space) and not space.suffix
    if not is_name or space.is_file():
        return space
    shipped = shipped_spaces()
    if str(space) in shipped:
        return shipped[str(space)]
    if os.path.lexists(space):
        return space  # a folder, as which it is refused
    rule = "no such file, and no search space of this name is shipped"
    raise BadInput(str(space), [Fault("", f"{rule}: those are {', '.join(shipped)}")])
