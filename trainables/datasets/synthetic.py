"""Sample points in two dimensions from known distributions."""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float64

Points = Float64[np.ndarray, "num_points 2"]


def eight_gaussians(num_points: int, rng: np.random.Generator) -> Points:
    """Draw from the 8-Gaussians toy of Gulrajani 2017 (section 3.1), at half the scale.

    The usual circle of radius 2 with standard deviation 0.02 becomes radius 1 and 0.01: the means
    lie in [-1, 1], some points a few hundredths outside.
    """
    angles = rng.integers(8, size=num_points) * (np.pi / 4)
    return _gaussians(np.stack([np.cos(angles), np.sin(angles)], axis=1), 0.01, rng)


def twenty_five_gaussians(num_points: int, rng: np.random.Generator) -> Points:
    """Draw from the 25-Gaussians toy of Gulrajani 2017 (section 3.1), in [-1, 1].

    The usual grid of distance 2 with standard deviation 0.05 becomes distance 0.5 and 0.0125.
    """
    means = rng.integers(-2, 3, size=(num_points, 2)) / 2
    return _gaussians(means, 0.0125, rng)


def swiss_roll(num_points: int, rng: np.random.Generator) -> Points:
    """Draw from the swiss roll toy of Gulrajani 2017 (section 3.1), in [-1, 1].

    The noise of 0.25 on a roll of radius 14 becomes 1/60 on one of radius 0.94.
    """
    from sklearn.datasets import make_swiss_roll  # importing it takes a second

    seed = int(rng.integers(2**32))
    points, _ = make_swiss_roll(num_points, noise=0.25, random_state=seed)
    return points[:, [0, 2]] / 15


def two_moons(num_points: int, rng: np.random.Generator) -> Points:
    """Draw from scikit-learn's two moons with noise of 0.05, in [-1, 1].

    scikit-learn's half circles of radius 1 cover [-1, 2] x [-0.5, 1]. (x, y) becomes
    (x - 0.5, y - 0.25) / 1.75, which leaves a margin of five standard deviations.
    """
    from sklearn.datasets import make_moons

    seed = int(rng.integers(2**32))
    points, _ = make_moons(num_points, noise=0.05, random_state=seed)
    return (points - [0.5, 0.25]) / 1.75


def parallel_lines(num_points: int, rng: np.random.Generator) -> Points:
    """Draw from two vertical segments, x = -0.5 and x = 0.5, with y uniform in [-1, 1].

    After Arjovsky 2017, Example 1: the W1 distance between the segments is 1.
    """
    x = rng.integers(2, size=num_points) - 0.5
    return np.stack([x, rng.uniform(-1, 1, size=num_points)], axis=1)


def _gaussians(means: np.ndarray, std: float, rng: np.random.Generator) -> Points:
    return means + std * rng.standard_normal(means.shape)


#: The function of each of these datasets: draw(num_points, rng).
DRAW: Mapping[str, Callable[[int, np.random.Generator], Points]] = {
    "eight_gaussians": eight_gaussians,
    "twenty_five_gaussians": twenty_five_gaussians,
    "swiss_roll": swiss_roll,
    "two_moons": two_moons,
    "parallel_lines": parallel_lines,
}
