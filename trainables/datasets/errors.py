"""The exception for unusable data, and the callbacks of the loaders.

ValueError
└── BadData  data that are missing, damaged or unfit for a search
"""

from collections.abc import Callable

#: Called with one line about each change to the data, and about files left out.
Note = Callable[[str], None]
#: Called with the number of files decoded so far, and the number of all files.
Progress = Callable[[int, int], None]


class BadData(ValueError):
    """Data that cannot be used; the text follows the name of the key.

    Attributes:
        key: The key of the section ``data`` at fault: ``path``, ``array_name``, ...
    """

    def __init__(self, key: str, text: str) -> None:
        super().__init__(key, text)  # both, so that it can be pickled
        self.key = key

    def __str__(self) -> str:
        """Return the text alone, without the key."""
        return self.args[1]
