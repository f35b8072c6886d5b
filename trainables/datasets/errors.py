"""What is wrong with the data that a search names."""

from collections.abc import Callable

#: Says in one line what was done to the data, or left out of them.
Note = Callable[[str], None]
#: Says how many files of how many are read.
Progress = Callable[[int, int], None]


class BadData(ValueError):
    """The data cannot be used as they are named.

    Attributes:
        key: The key of the data section that it is about: ``path``, ``array_name``, ...
    """

    def __init__(self, key: str, text: str) -> None:
        super().__init__(key, text)  # both, so that it survives from one process to another
        self.key = key

    def __str__(self) -> str:
        """Give the text alone: who shows it says which key it is about."""
        return self.args[1]
