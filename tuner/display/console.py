"""Print text from files of others without letting it control the terminal."""

from typing import Any

from rich.console import Console
from rich.text import Text

_KEPT = frozenset("\n\t")


def printable(text: str) -> str:
    r"""Escape what a terminal would obey rather than show: ``\x1b`` in place of the character.

    Names of files, error messages of custom networks and search spaces of others may hold such
    characters, which can recolour a terminal, move its cursor, or set its title.
    """
    return "".join(
        c if c.isprintable() or c in _KEPT else c.encode("unicode_escape").decode() for c in text
    )


class PrintableConsole(Console):
    """A console that shows every string as it is written: without markup, and escaped."""

    def __init__(self, **options: Any) -> None:
        """Make a console; for the options see ``rich.console.Console``."""
        super().__init__(highlight=False, markup=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Render a string, also that of a table's cell."""
        return super().render_str(printable(text), **options)
