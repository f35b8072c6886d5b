"""The checkpoints of a search, recorded by their paths within it.

The folder of a search may be moved, or copied: a path within it stays right, while an absolute one
would lead a copy to the checkpoints of the original. No other path is read or deleted, whatever
the journal says.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

from trainables.checkpoint import STATE
from tuner.storage import Folder, join, local_path

#: The folder of all checkpoints, as ``ray/SESSION/TRIAL/checkpoint_000001``.
FOLDER = "ray"
_CHECKPOINT = re.compile(r"[^/]+/[^/]+/checkpoint_\d+")


@final
@dataclass(frozen=True)
class Superseded:
    """What no trial needs any more, by the locations of checkpoints.

    Of ``states`` only the training state is to be deleted: their generator is kept.
    """

    checkpoints: tuple[str, ...] = ()
    states: tuple[str, ...] = ()


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

    def superseded(self, checkpoints: Iterable[str], generators: Iterable[str]) -> Superseded:
        """Look for all that is there and superseded.

        Args:
            checkpoints: The recorded checkpoints.
            generators: Those recorded for their generators.

        Raises:
            OSError: if the folder cannot be read.
        """
        whole = {self.recorded_name(one) for one in checkpoints}
        kept = {self.recorded_name(one) for one in generators}
        files = Folder(join(self._location, FOLDER)).sizes()
        matches = [(file, match[0]) for file in files if (match := _CHECKPOINT.match(file))]
        present = {f"{FOLDER}/{folder}" for _, folder in matches}
        states = {f"{FOLDER}/{folder}" for file, folder in matches if file == f"{folder}/{STATE}"}
        return self.located(present - whole - kept, states & kept - whole)

    def located(self, checkpoints: Iterable[str], states: Iterable[str]) -> Superseded:
        """Locate what is superseded, by its paths within the search."""
        return Superseded(*(tuple(self._locations(names)) for names in (checkpoints, states)))

    def _locations(self, names: Iterable[str]) -> list[str]:
        locations = map(self.locate, sorted(names))
        return [location for location in locations if location is not None]


def _valid(name: str) -> str | None:
    """Return a path within the search if it is one of a checkpoint, from its text."""
    parts = name.split("/")
    is_below = parts[0] == FOLDER and len(parts) > 1
    return name if is_below and not {"", ".", ".."} & set(parts) else None


def _without_options(location: str) -> str:
    return location.partition("?")[0] if "://" in location else location
