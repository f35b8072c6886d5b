"""What is notified of a search's events."""

from collections.abc import Sequence

from tuner.study import Trial


class Follower:
    """Is told what happens in a search, when it has been written down; does nothing about it."""

    def reported(self) -> None:
        """A trial reported, or a moment passed in the final."""

    def ended(self, trial: Trial) -> None:
        """A trial ended."""

    def final_starts(self, trials: Sequence[Trial]) -> None:
        """These trials are about to be scored again."""

    def in_final(self, trial: Trial) -> None:
        """The final scored a trial, or failed to."""

    def noted(self, text: str) -> None:
        """Something went wrong and was mended, or could not be."""
