"""Print text from files of others without letting it control the terminal."""

from typing import Any

from rich.console import Console
from rich.text import Text

from tuner.printable import printable


class PrintableConsole(Console):
    """A console that shows every string as it is written: without markup, and escaped."""

    def __init__(self, **options: Any) -> None:
        """Make a console; for the options see ``rich.console.Console``."""
        super().__init__(highlight=False, markup=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Render a string, also that of a table's cell."""
        return super().render_str(printable(text), **options)
