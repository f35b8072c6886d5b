import numpy as np
from sklearn import datasets

from trainables.datasets.digits import load_digits


def test_digits_are_scikit_learns_images_pixel_for_pixel() -> None:
    """0 to 16 become -1 to 1: both ends are reached, and the mapping can be inverted."""
    digits = load_digits()
    assert (digits.min(), digits.max()) == (-1, 1)
    assert np.array_equal(digits[:, 0] * 8 + 8, datasets.load_digits().images)
