"""PacGAN: a critic that sees several samples at once, so that it notices a lack of variety."""

from jaxtyping import Float
from torch import Tensor


def packed_shape(sample_shape: tuple[int, ...], pack: int) -> tuple[int, ...]:
    """Return the shape of one input of the critic: its channels, or its length, times ``pack``."""
    return (pack * sample_shape[0], *sample_shape[1:])


def packed(
    samples: Float[Tensor, "batch *sample"], pack: int
) -> Float[Tensor, "packs *packed_sample"]:
    """Join every ``pack`` samples along their first axis (Lin 2018, section 3), as a view.

    Args:
        samples: A batch; its size must be a multiple of ``pack``.
        pack: How many samples the critic sees at once; 1 changes nothing.
    """
    if pack == 1:
        return samples
    return samples.reshape(-1, *packed_shape(tuple(samples.shape[1:]), pack))
