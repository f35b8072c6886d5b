"""Datasets and their splits, as NumPy arrays scaled to [-1, 1]."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from trainables.config import DataConfig

GAUSSIANS_PER_PART = {"train": 8192, "fit": 4096, "read": 4096}


@dataclass(frozen=True)
class Data:
    """Three disjoint parts of one dataset, float32 of shape [n, *sample_shape].

    Trials train on ``train``; the independent critic is fitted on ``fit`` and read on ``read``.
    Images are [n, C, H, W].
    """

    train: Float32[np.ndarray, "n_train *sample"]
    fit: Float32[np.ndarray, "n_fit *sample"]
    read: Float32[np.ndarray, "n_read *sample"]

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample: (C, H, W) for images, (length,) for vectors."""
        return self.train.shape[1:]


def load(config: DataConfig) -> Data:
    """Load the configured dataset, split by ``config.split_seed`` and by nothing else."""
    return _DATASETS[config.dataset](np.random.default_rng(config.split_seed))


def digits(rng: np.random.Generator) -> Data:
    """Split scikit-learn's 1,797 handwritten digits, [1, 8, 8], at random 60/20/20."""
    from sklearn.datasets import load_digits  # takes a second that vector data need not wait

    pixels = np.asarray(load_digits(return_X_y=True)[0])  # whole numbers from 0 to 16
    images = pixels.reshape(-1, 1, 8, 8) / 8 - 1
    rng.shuffle(images)
    return _cut(images, [round(0.6 * len(images)), round(0.8 * len(images))])


def eight_gaussians(rng: np.random.Generator) -> Data:
    """Draw 2-D points from the 8-Gaussians toy of Gulrajani 2017 (section 3.1), halved in scale.

    The usual circle of radius 2 with standard deviation 0.02 becomes radius 1 and 0.01: the means
    lie in [-1, 1], and single points up to a few hundredths beyond.
    """
    num_points = sum(GAUSSIANS_PER_PART.values())
    angles = rng.integers(8, size=num_points) * (np.pi / 4)
    means = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    points = means + 0.01 * rng.standard_normal(means.shape)
    num_train, num_fit, _ = GAUSSIANS_PER_PART.values()
    return _cut(points, [num_train, num_train + num_fit])


def _cut(samples: np.ndarray, ends: list[int]) -> Data:
    return Data(*np.split(samples.astype(np.float32), ends))


_DATASETS: Mapping[str, Callable[[np.random.Generator], Data]] = {
    "digits": digits,
    "eight_gaussians": eight_gaussians,
}
