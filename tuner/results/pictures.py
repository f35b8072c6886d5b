"""Name the files of sample grids."""

#: Matches the name of every one of them.
PICTURES = "step_*.png"


def picture_name(step: int) -> str:
    """Return the file name of the sample grid of a generator step; names sort by step."""
    return f"step_{step:06d}.png"
