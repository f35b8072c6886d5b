"""Name the files of sample grids."""

from pathlib import Path

#: Matches the name of every one of them.
PICTURES = "step_*.png"


def picture_name(step: int) -> str:
    """Return the file name of the sample grid of a generator step; names sort by step."""
    return f"step_{step:06d}.png"


def picture_step(path: Path) -> int:
    """Return the generator step of a sample grid, by its file name."""
    return int(path.stem.partition("_")[2])
