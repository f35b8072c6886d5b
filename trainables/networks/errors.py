"""The exception for networks that cannot be used.

ValueError
└── BadNetwork           a generator or critic that cannot be built, or cannot be trained
    └── CodeNotAllowed   a file names a network in a module that the user has not allowed
"""


class BadNetwork(ValueError):
    """A network that no trial can use.

    Attributes:
        key: The key of the section ``networks`` at fault: ``generator``, ``critic_args``, ...
    """

    def __init__(self, key: str, text: str) -> None:
        super().__init__(text)
        self.key = key


class CodeNotAllowed(BadNetwork):
    """A file names a custom network whose module must not be imported without the user's word."""


def in_one_line(error: BaseException) -> str:
    """Format an exception as its type and text, in one line of at most 200 characters."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")
    return text if len(text) <= 200 else f"{text[:197]}..."
