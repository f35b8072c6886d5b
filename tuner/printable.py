"""Text of others, from names of files, error messages and files, that is to be shown."""

_KEPT = frozenset("\n\t")


def printable(text: str) -> str:
    r"""Escape what a terminal would obey rather than show: ``\x1b`` in place of the character.

    Such characters can recolour a terminal, move its cursor, or set its title. Halves of
    surrogate pairs, by which Python keeps what is not UTF-8, are escaped too: no file or database
    takes them.
    """
    return "".join(
        c if c.isprintable() or c in _KEPT else c.encode("unicode_escape").decode() for c in text
    )
