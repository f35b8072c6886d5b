"""Measure a generator's distance from the data without any critic.

On 2-D data: exact Wasserstein-1 transport between large samples. On images: the Fréchet distance
between features of a classifier, sliced W1, and exact W1 between pixels, since each of them alone
can mislead in many dimensions (Stanczuk 2021, arXiv 2103.01678).
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import ot
import scipy.linalg
import torch
from torch import nn
from torch.nn import functional

from benchmarks.fidelity.pools import POINTS_2D, Member, load_data
from trainables.config import DataConfig
from trainables.data import load

NUM_DRAWS = 5
#: Points of a draw, and the groups of neighbours that replace them in the transport problem.
NUM_POINTS, NUM_GROUPS = 65_536, 1024
NUM_IMAGES = 1500  # of a draw for exact transport between pixels
NUM_FEATURES = 64
#: The yardstick is a mean over classifiers: the rankings of a pool by two classifiers with other
#: initial weights have a Kendall's tau of only about 0.88.
NUM_CLASSIFIERS = 5

Sample = Callable[[int], np.ndarray]


def exact_w1(left: np.ndarray, right: np.ndarray) -> float:
    """Return W1 (L2 cost) between two samples [n, dim] of equal size, by POT's network simplex."""
    cost = ot.dist(left, right, metric="euclidean")
    return float(ot.emd2([], [], cost, numItermax=10_000_000))


def grouped(points: np.ndarray, num_groups: int = NUM_GROUPS) -> np.ndarray:
    """Replace points [n, 2] by the means of equally large groups of neighbours.

    Each group is split in half along its longer side until there are ``num_groups``. W1 between two
    sets of means differs from W1 between the points by at most the mean distance of the points from
    their means. The sampling noise is that of all n points, for which exact transport would be too
    expensive.
    """
    groups = points[None]
    while len(groups) < num_groups:
        sides = np.ptp(groups, axis=1).argmax(axis=1)
        keys = np.take_along_axis(groups, sides[:, None, None], axis=2)[:, :, 0]
        order = np.argsort(keys, axis=1)
        groups = np.take_along_axis(groups, order[:, :, None], axis=1)
        groups = groups.reshape(2 * len(groups), -1, points.shape[1])
    return groups.mean(axis=1)


class PlaneTruth:
    """Exact W1 on 2-D data, one value per draw; the real points are the same for all generators."""

    def __init__(self, data_name: str) -> None:
        self._draws = [fresh_points(data_name, 2 * draw) for draw in range(NUM_DRAWS)]
        self._others = [fresh_points(data_name, 2 * draw + 1) for draw in range(NUM_DRAWS)]

    def __call__(self, sample: Sample) -> dict[str, list[float]]:
        """Return the W1 of a sampler."""
        return {"w1": [exact_w1(real, grouped(sample(NUM_POINTS))) for real in self._draws]}

    def floor(self) -> dict[str, list[float]]:
        """Return the W1 between two real samples."""
        pairs = zip(self._draws, self._others, strict=True)
        return {"w1": [exact_w1(real, other) for real, other in pairs]}


def fresh_points(data_name: str, draw: int) -> np.ndarray:
    """Draw grouped real points that no pool is trained or scored on."""
    parts: list[np.ndarray] = []
    for k in range(3):
        config = {"dataset": data_name, "split_seed": 10**6 + 3 * draw + k}
        data = load(DataConfig.model_validate(config))
        parts += [data.train, data.critic_train, data.critic_eval, data.final]
    return grouped(np.concatenate(parts)[:NUM_POINTS].astype(float))


class ImageTruth:
    """The yardsticks on images [n, C, H, W]; the constructor trains the classifiers."""

    def __init__(self, data_name: str) -> None:
        data = load_data(data_name, 0)
        self.real = np.concatenate([data.train, data.critic_train, data.critic_eval, data.final])
        images = labelled(data_name)
        self._networks = [train_classifier(*images, seed) for seed in range(NUM_CLASSIFIERS)]

    def _frechet(self, left: np.ndarray, right: np.ndarray) -> list[float]:
        """Return the Fréchet distance of two sets of images, by each classifier's features."""
        return [
            frechet(network_features(network, left), network_features(network, right))
            for network in self._networks
        ]

    def __call__(self, sample: Sample) -> dict[str, list[float]]:
        """Return all three yardsticks of a sampler of [n, C * H * W] or [n, C, H, W]."""
        rng = np.random.default_rng(0)
        images = sample(len(self.real)).reshape(self.real.shape)
        exact, sliced = [], []
        for _ in range(3):
            num_images = min(NUM_IMAGES, len(self.real))
            real = self.real[rng.permutation(len(self.real))[:num_images]].reshape(num_images, -1)
            fake = sample(num_images).reshape(num_images, -1).astype(float)
            real = real.astype(float)
            exact.append(exact_w1(real, fake))
            sliced.append(
                float(ot.sliced_wasserstein_distance(real, fake, n_projections=300, p=1, seed=0))
            )
        return {"frechet": self._frechet(self.real, images), "w1": exact, "sliced": sliced}

    def floor(self) -> dict[str, list[float]]:
        """Return the yardsticks of one half of the real images against the other half."""
        rng = np.random.default_rng(1)
        order = rng.permutation(len(self.real))
        one, other = self.real[order[::2]], self.real[order[1::2]]
        count = min(NUM_IMAGES, len(other))
        left, right = (part[:count].reshape(count, -1).astype(float) for part in (one, other))
        sliced = ot.sliced_wasserstein_distance(left, right, n_projections=300, p=1, seed=0)
        return {
            "frechet": self._frechet(one, other),
            "w1": [exact_w1(left, right)],
            "sliced": [float(sliced)],
        }


def network_features(network: nn.Sequential, images: np.ndarray) -> np.ndarray:
    """Return the last hidden layer of a classifier for images [n, C, H, W]."""
    with torch.no_grad():
        chunks = torch.from_numpy(np.ascontiguousarray(images)).float().split(2048)
        return torch.cat([network[:-1](chunk) for chunk in chunks]).double().numpy()


def frechet(left: np.ndarray, right: np.ndarray) -> float:
    """Return the squared Fréchet distance of Gaussians fitted to features [n, d] (Heusel 2017)."""
    covariances = [np.cov(part, rowvar=False) for part in (left, right)]
    root = np.real(scipy.linalg.sqrtm(covariances[0] @ covariances[1]))
    means = left.mean(0) - right.mean(0)
    return float(means @ means + np.trace(covariances[0] + covariances[1] - 2 * root))


def labelled(data_name: str) -> tuple[np.ndarray, np.ndarray]:
    """Load all images of a dataset with their classes."""
    if data_name != "digits":
        return load_labelled(Path(data_name))
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    return (np.asarray(pixels).reshape(-1, 1, 8, 8) / 8 - 1).astype(np.float32), labels


def load_labelled(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Load images in [-1, 1], [n, C, H, W], and their classes from an ``.npz`` file.

    Raises:
        ValueError: if it has no ``labels``.
    """
    with np.load(path) as file:
        if "labels" not in file.files:
            raise ValueError(f"{path} must have labels, got {', '.join(file.files)}")
        images, labels = file["images"], file["labels"]
    images = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    return (images / np.float32(127.5) - 1).astype(np.float32), labels


def train_classifier(images: np.ndarray, labels: np.ndarray, seed: int) -> nn.Sequential:
    """Train a small convolutional classifier whose penultimate layer has NUM_FEATURES units."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        channels, height, width = images.shape[1:]
        flat = 32 * (-(-height // 4)) * (-(-width // 4))
        network = nn.Sequential(
            nn.Conv2d(channels, 16, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(flat, NUM_FEATURES), nn.ReLU(),
            nn.Linear(NUM_FEATURES, int(labels.max()) + 1),
        )  # fmt: skip
        optimizer = torch.optim.Adam(network.parameters(), 2e-3)
        inputs, targets = torch.from_numpy(images), torch.from_numpy(labels).long()
        for _ in range(1500):
            rows = torch.randint(len(inputs), (128,))
            loss = functional.cross_entropy(network(inputs[rows]), targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network.eval()


def measure(
    data_name: str, members: list[Member], cache: Path, log: Callable[[str], None]
) -> tuple[list[dict[str, float]], dict[str, float]]:
    """Return all yardsticks of each member and of real data; cache them, as no critic enters."""
    paths = [cache / f"truth-{member.fingerprint}.npz" for member in members]
    floor_path = cache / f"truth-{Path(data_name).stem}-floor.npz"
    if not all(path.exists() for path in (*paths, floor_path)):
        yardsticks = PlaneTruth(data_name) if data_name in POINTS_2D else ImageTruth(data_name)
        if not floor_path.exists():
            np.savez(floor_path, **yardsticks.floor())
        for member, path in zip(members, paths, strict=True):
            if not path.exists():
                np.savez(path, **yardsticks(sampler(member)))
                log(f"measured {Path(data_name).stem} trial {member.name}")
    return [_means(path) for path in paths], _means(floor_path)


def sampler(member: Member) -> Sample:
    """Let a trial sample from latents that are the same in every process."""
    rng = torch.Generator().manual_seed(7)

    def sample(num_samples: int) -> np.ndarray:
        latents = torch.randn(num_samples, member.latent_dim, generator=rng)
        return member.generate(latents).double().numpy()

    return sample


def _means(path: Path) -> dict[str, float]:
    """Average each yardstick over draws: geometrically for Fréchet, whose scale varies."""
    with np.load(path) as file:
        values = {name: file[name] for name in file.files}
    if "frechet" in values:
        logs = np.log(values.pop("frechet"))
        values = {"frechet": np.exp(logs.mean(keepdims=True)), **values}
    return {name: float(v.mean()) for name, v in values.items()}
