"""What can be wrong with a network, in words.

ValueError
└── BadNetwork  a generator or critic that cannot be built, or cannot be trained
"""


class BadNetwork(ValueError):
    """A network that no trial can use; ``key`` is the key of ``networks`` that is to blame."""

    def __init__(self, key: str, what: str) -> None:
        super().__init__(what)
        self.key = key


def in_one_line(error: BaseException) -> str:
    """An exception's type and text, at most 200 characters: a stranger's text may fill pages."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")
    return text if len(text) <= 200 else f"{text[:197]}..."
