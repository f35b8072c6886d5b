"""The checkpoints of a search, recorded by their paths within it.

The folder of a search may be moved, or copied: a path within it stays right, while an absolute one
would lead a copy to the checkpoints of the original. No other path is read or deleted, whatever
the journal says.
"""

import re
from collections.abc import Iterable
from typing import final

from tuner.storage import Folder, join, local_path

#: The folder of all checkpoints, as ``ray/SESSION/TRIAL/checkpoint_000001``.
FOLDER = "ray"
_CHECKPOINT = re.compile(r"[^/]+/[^/]+/checkpoint_\d+")


@final
class CheckpointFolder:
    """Where the checkpoints of a search lie: in its own folder, or in its storage."""

    def __init__(self, location: str, search: str) -> None:
        """Access nothing yet.

        Args:
            location: The search's folder, a path or a URI.
            search: The search's name.
        """
        self._location = join(location)
        self._search = search
        self._root = local_path(location)

    def name_of(self, location: str) -> str | None:
        """Return the path within the search of a location; ``None`` if it is not below it."""
        path, here = _without_options(location), f"{_without_options(self._location)}/"
        return _valid(path.removeprefix(here)) if path.startswith(here) else None

    def recorded_name(self, recorded: str) -> str | None:
        """Return the path of a checkpoint within the search; ``None`` if it lies outside.

        Args:
            recorded: Such a path, or a location, as earlier versions recorded. One in the place
                where the search then was stands for the same path where it is now.
        """
        if (name := _valid(recorded) or self.name_of(recorded)) is not None:
            return name
        _, is_moved, rest = _without_options(recorded).rpartition(f"/{self._search}/{FOLDER}/")
        return _valid(f"{FOLDER}/{rest}") if is_moved else None

    def locate(self, recorded: str) -> str | None:
        """Return the location of a checkpoint; ``None`` if it lies outside of the search.

        Args:
            recorded: As for :meth:`recorded_name`.
        """
        if (name := self.recorded_name(recorded)) is None:
            return None
        location = join(self._location, *name.split("/"))
        if self._root is None:
            return location
        try:
            path = local_path(location)
        except (OSError, ValueError):  # links in a circle, a null byte
            return None
        return location if path is not None and path.is_relative_to(self._root) else None

    def unrecorded(self, recorded: Iterable[str]) -> list[str]:
        """List the locations of all checkpoints that are there, apart from those recorded.

        Raises:
            OSError: if the folder cannot be read.
        """
        names = {self.recorded_name(one) for one in recorded}
        files = Folder(join(self._location, FOLDER)).sizes()
        folders = {match[0] for file in files if (match := _CHECKPOINT.match(file))}
        others = sorted({f"{FOLDER}/{folder}" for folder in folders} - names)
        return [location for name in others if (location := self.locate(name)) is not None]


def _valid(name: str) -> str | None:
    """Return a path within the search if it is one of a checkpoint, from its text."""
    parts = name.split("/")
    is_below = parts[0] == FOLDER and len(parts) > 1
    return name if is_below and not {"", ".", ".."} & set(parts) else None


def _without_options(location: str) -> str:
    return location.partition("?")[0] if "://" in location else location
