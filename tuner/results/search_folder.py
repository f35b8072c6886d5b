"""Tell the folder of a search from other folders, by the names of its files."""

from pathlib import Path

from tuner.errors import BadInput, Fault

#: The files without which a search can be neither read nor resumed.
_REQUIRED = ("spec.yaml", "study.log")


def is_search(folder: Path, *, or_broken: bool = False) -> bool:
    """Return whether a folder holds a search.

    Args:
        folder: The folder.
        or_broken: Accept a search of which required files are missing, too.
    """
    if or_broken:
        return any((folder / name).exists() for name in (*_REQUIRED, "trials.csv"))
    return not _missing(folder)


def check_is_search(folder: Path) -> None:
    """Check that a folder holds a search.

    Raises:
        BadInput: if it does not, with the files that are missing.
    """
    if missing := _missing(folder):
        rule = f"holds no search: it has no {' and no '.join(missing)}"
        message = f"{rule}; give a search's folder, such as runs/gp"
        raise BadInput(str(folder), [Fault("", message)])


def _missing(folder: Path) -> list[str]:
    return [name for name in _REQUIRED if not (folder / name).exists()]
