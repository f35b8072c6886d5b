"""The names of sample grids."""


def picture_name(step: int) -> str:
    """The file name of the sample grid of a generator step; sorts as the steps do."""
    return f"step_{step:06d}.png"
