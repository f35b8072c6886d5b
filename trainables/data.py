"""Datasets and their splits, as NumPy arrays scaled to [-1, 1]."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Num

from trainables.config import DataConfig

#: Shares of a dataset that is given: for the trials, and for each use of the independent critic.
SHARES = {"train": 0.6, "fit": 0.2, "read": 0.1, "final": 0.1}
#: Points of a dataset that is drawn, of which there are as many as one likes.
DRAWN = {"train": 8192, "fit": 8192, "read": 4096, "final": 8192}
#: A mean over fewer samples says too little of a distribution to rank trials by.
MIN_SAMPLES_PER_PART = 50


@dataclass(frozen=True)
class Data:
    """Four disjoint parts of one dataset, float32 of shape [n, *sample_shape].

    Trials train on ``train``. At the rungs the independent critic is fitted on ``fit`` and read
    on ``read``; ``final`` is read once, when the trials are done. Images are [n, C, H, W].
    """

    train: Float32[np.ndarray, "n_train *sample"]
    fit: Float32[np.ndarray, "n_fit *sample"]
    read: Float32[np.ndarray, "n_read *sample"]
    final: Float32[np.ndarray, "n_final *sample"]

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample: (C, H, W) for images, (length,) for vectors."""
        return self.train.shape[1:]


def load(config: DataConfig) -> Data:
    """Load the configured dataset, split by ``config.split_seed`` and by nothing else."""
    return _DATASETS[config.dataset](np.random.default_rng(config.split_seed))


def split(samples: Num[np.ndarray, "n *sample"], rng: np.random.Generator) -> Data:
    """Deal all samples out to the four parts at random, by ``SHARES``.

    Raises:
        ValueError: where there are so few that a part would have less than
            ``MIN_SAMPLES_PER_PART``.
    """
    ends = np.rint(np.cumsum([*SHARES.values()]) * len(samples)).astype(int)[:-1]
    parts = np.split(rng.permutation(len(samples)), ends)
    if min(map(len, parts)) < MIN_SAMPLES_PER_PART:
        shares = ", ".join(f"{share:.0%} {part}" for part, share in SHARES.items())
        least = round(MIN_SAMPLES_PER_PART / min(SHARES.values()))
        raise ValueError(
            f"must have at least {least} samples, or a held-out part ({shares}) has fewer than "
            f"{MIN_SAMPLES_PER_PART} and its mean says too little to rank trials by, got "
            f"{len(samples)}: add samples"
        )
    return Data(*(samples[part].astype(np.float32) for part in parts))


def digits(rng: np.random.Generator) -> Data:
    """Split scikit-learn's 1,797 handwritten digits, [1, 8, 8]."""
    from sklearn.datasets import load_digits  # takes a second that vector data need not wait

    pixels = np.asarray(load_digits(return_X_y=True)[0])  # whole numbers from 0 to 16
    return split(pixels.reshape(-1, 1, 8, 8) / 8 - 1, rng)


def eight_gaussians(rng: np.random.Generator) -> Data:
    """Draw 2-D points from the 8-Gaussians toy of Gulrajani 2017 (section 3.1), halved in scale.

    The usual circle of radius 2 with standard deviation 0.02 becomes radius 1 and 0.01: the means
    lie in [-1, 1], and single points up to a few hundredths beyond.
    """
    angles = rng.integers(8, size=sum(DRAWN.values())) * (np.pi / 4)
    return _gaussians(np.stack([np.cos(angles), np.sin(angles)], axis=1), 0.01, rng)


def twenty_five_gaussians(rng: np.random.Generator) -> Data:
    """Draw 2-D points from the 25-Gaussians toy of Gulrajani 2017 (section 3.1), in [-1, 1].

    The usual grid of distance 2 with standard deviation 0.05 becomes distance 0.5 and 0.0125.
    """
    means = rng.integers(-2, 3, size=(sum(DRAWN.values()), 2)) / 2
    return _gaussians(means, 0.0125, rng)


def swiss_roll(rng: np.random.Generator) -> Data:
    """Draw 2-D points from the swiss roll toy of Gulrajani 2017 (section 3.1), in [-1, 1].

    The noise of 0.25 on a roll of radius 14 becomes 1/60 on one of radius 0.94.
    """
    from sklearn.datasets import make_swiss_roll

    seed = int(rng.integers(2**32))
    points, _ = make_swiss_roll(sum(DRAWN.values()), noise=0.25, random_state=seed)
    return _deal_drawn(points[:, [0, 2]] / 15)


def _gaussians(means: np.ndarray, std: float, rng: np.random.Generator) -> Data:
    return _deal_drawn(means + std * rng.standard_normal(means.shape))


def _deal_drawn(points: np.ndarray) -> Data:
    ends = np.cumsum([*DRAWN.values()])[:-1]
    return Data(*np.split(points.astype(np.float32), ends))


_DATASETS: Mapping[str, Callable[[np.random.Generator], Data]] = {
    "digits": digits,
    "eight_gaussians": eight_gaussians,
    "twenty_five_gaussians": twenty_five_gaussians,
    "swiss_roll": swiss_roll,
}
