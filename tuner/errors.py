"""All errors that this package raises on purpose; any other that escapes it is a bug.

TunerError
├── BadInput  the user's input cannot be run: exit status 2
└── Halted    a cause outside the search stopped it; it can be resumed: exit status 3
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One fault of the input.

    Attributes:
        where: A dotted key, a path or an option; empty if the source of the error says it all.
        message: The rule, the value and the way out.
    """

    where: str
    message: str

    def __str__(self) -> str:
        """Return one line for a message."""
        return f"{self.where}: {self.message}" if self.where else self.message


class TunerError(Exception):
    """Base of all errors whose text is written for the user."""


class BadInput(TunerError):
    """The input cannot be run; the error lists all of its faults at once."""

    def __init__(self, source: str, faults: Sequence[Fault]) -> None:
        """Make an error of all faults.

        Args:
            source: The input: a path, an option or a key.
            faults: All that is wrong with it, at least one fault.
        """
        self.source = source
        self.faults = tuple(faults)
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        super().__init__("\n".join([f"{source}: {count}", *(f"  {f}" for f in self.faults)]))


class Halted(TunerError):
    """A search stopped and can be resumed once the cause is fixed."""
