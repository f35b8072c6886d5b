"""The interface of what runs the trials of a search: Ray, or this process."""

from typing import Protocol

from trainables.data import Data
from tuner.cluster.interruption import Interruption
from tuner.record import Listener, Record


class Executor(Protocol):
    """Runs the trials of one session of a search, and its final."""

    @property
    def addresses(self) -> dict[str, str]:
        """Return the addresses at which a person can watch it, by name."""
        ...

    def prepare(self, location: str, interrupted: Interruption) -> None:
        """Check that trials can run, before anything of the search is written.

        Args:
            location: The folder, or URI, of the search's checkpoints.
            interrupted: Ends a wait for resources.

        Raises:
            BadInput: if they cannot.
            OSError: if the location cannot be used.
        """
        ...

    def listeners(self, record: Record) -> list[Listener]:
        """Return what shall be notified of the search's events because it runs here."""
        ...

    def load(self, data: Data) -> None:
        """Take over the data of the search, before any trial: the caller need keep no copy."""
        ...

    def run_trials(self, record: Record, location: str, interrupted: Interruption) -> None:
        """Run trials until the search has no more, its budget is used up, or it is interrupted.

        Args:
            record: Gives the trials, and is notified of all that happens to them.
            location: The folder, or URI, of this session's checkpoints.
            interrupted: Once set, trials end where they are, to be resumed.
        """
        ...

    def run_final(self, record: Record, interrupted: Interruption) -> None:
        """Score the finalists again, until done or interrupted."""
        ...

    def leave(self) -> None:
        """Need nothing more of where the trials ran, whose loss then changes no result."""
        ...
