"""Everything that this package raises on purpose; what else escapes it is a bug.

TunerError
├── BadInput  what the user gave cannot be run: exit status 2
└── Halted    something outside stopped a search, to be resumed once it is mended: exit status 3
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: where (a dotted key, a path or an option), and what to do."""

    where: str
    what: str

    def __str__(self) -> str:
        """As it is shown."""
        return f"{self.where}: {self.what}" if self.where else self.what


class TunerError(Exception):
    """Base of every error whose text is meant for the person at the terminal."""


class BadInput(TunerError):
    """The input cannot be run; carries all of its faults, so that one reading mends them all."""

    def __init__(self, source: str, faults: Sequence[Fault]) -> None:
        self.source = source
        self.faults = tuple(faults)
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        super().__init__("\n".join([f"{source}: {count}", *(f"  {f}" for f in self.faults)]))


class Halted(TunerError):
    """A search stopped where it was: it can be resumed once the cause is mended."""
