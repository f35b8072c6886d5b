"""What a terminal would obey, and what is not UTF-8."""

import pytest

from tuner.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("日本 é [bold]", "日本 é [bold]"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("title \x1b]0;x\x07", "title \\x1b]0;x\\x07"),
        ("over\rwritten \x08 \x9b", "over\\rwritten \\x08 \\x9b"),
        ("right to left \u202e", "right to left \\u202e"),
        ("latin \udce9", "latin \\udce9"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_what_is_printable_stays_as_it_is() -> None:
    assert printable(printable("\x1b[31m \udce9")) == printable("\x1b[31m \udce9")
