"""The handwritten digits that scikit-learn ships: nothing has to be downloaded."""

import numpy as np
from jaxtyping import Float64


def load_digits() -> Float64[np.ndarray, "1797 1 8 8"]:
    """Load scikit-learn's 1,797 scanned digits, in [-1, 1] in steps of 1/8."""
    from sklearn import datasets  # importing it takes a second

    pixels = np.asarray(datasets.load_digits(return_X_y=True)[0])  # whole numbers from 0 to 16
    return pixels.reshape(-1, 1, 8, 8) / 8 - 1
