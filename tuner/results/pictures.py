"""The names of sample grids."""

#: Matches the name of every one of them.
PICTURES = "step_*.png"


def picture_name(step: int) -> str:
    """The file name of the sample grid of a generator step; sorts as the steps do."""
    return f"step_{step:06d}.png"
