"""Yardsticks of a generator's distance from the data, which no critic has a part in.

On points in the plane: exact Wasserstein-1 transport between large samples. On images: the Fréchet
distance in the features of a classifier, sliced W1, and exact W1 between pixels, for in many
dimensions each of them alone can mislead (Stanczuk 2021, arXiv 2103.01678).
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
#: Points of a draw, and the groups of neighbours that stand for them in the transport problem.
NUM_POINTS, NUM_GROUPS = 65_536, 1024
NUM_IMAGES = 1500  # of a draw for exact transport between pixels
NUM_FEATURES = 64
#: Two classifiers of other initial weights agree on the order of a pool to a Kendall's tau of
#: about 0.88 only: their mean is the yardstick.
NUM_CLASSIFIERS = 5

Sample = Callable[[int], np.ndarray]


def exact_w1(left: np.ndarray, right: np.ndarray) -> float:
    """W1 (L2 cost) between two samples of as many points, [n, dim], by POT's network simplex."""
    cost = ot.dist(left, right, metric="euclidean")
    return float(ot.emd2([], [], cost, numItermax=10_000_000))


def grouped(points: np.ndarray, num_groups: int = NUM_GROUPS) -> np.ndarray:
    """Stand for points [n, 2] by the means of equally large groups of neighbours.

    Split in halves again and again, each group along its longer side. W1 between what they stand
    for differs from W1 between the means by at most the points' mean distance from their means;
    but the noise is that of all n points, for which exact transport would be out of reach.
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
    """Exact W1 on 2-D data, a value a draw; the real points are the same for all generators."""

    def __init__(self, data_name: str) -> None:
        self._draws = [_points(data_name, 2 * draw) for draw in range(NUM_DRAWS)]
        self._others = [_points(data_name, 2 * draw + 1) for draw in range(NUM_DRAWS)]

    def __call__(self, sample: Sample) -> dict[str, list[float]]:
        """W1 of a sampler."""
        return {"w1": [exact_w1(real, grouped(sample(NUM_POINTS))) for real in self._draws]}

    def floor(self) -> dict[str, list[float]]:
        """W1 between real points and others of as many."""
        pairs = zip(self._draws, self._others, strict=True)
        return {"w1": [exact_w1(real, other) for real, other in pairs]}


def _points(data_name: str, draw: int) -> np.ndarray:
    """Real points, grouped, that no pool trains or scores on."""
    parts: list[np.ndarray] = []
    for k in range(3):
        config = {"dataset": data_name, "split_seed": 10**6 + 3 * draw + k}
        data = load(DataConfig.model_validate(config))
        parts += [data.train, data.critic_train, data.critic_eval, data.final]
    return grouped(np.concatenate(parts)[:NUM_POINTS].astype(float))


class ImageTruth:
    """Yardsticks on images [n, C, H, W]; trains its classifiers when it is made."""

    def __init__(self, data_name: str) -> None:
        data = load_data(data_name, 0)
        self.real = np.concatenate([data.train, data.critic_train, data.critic_eval, data.final])
        labelled = _labelled(data_name, self.real)
        self._networks = [train_classifier(*labelled, seed) for seed in range(NUM_CLASSIFIERS)]

    def _frechet(self, left: np.ndarray, right: np.ndarray) -> list[float]:
        """Of two sets of images, by each classifier's last hidden layer."""
        return [
            frechet(_features(network, left), _features(network, right))
            for network in self._networks
        ]

    def __call__(self, sample: Sample) -> dict[str, list[float]]:
        """All three yardsticks of a sampler of [n, C * H * W] or [n, C, H, W]."""
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
        """What the yardsticks say of real images against others; half as many as of a trial's."""
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


def _features(network: nn.Sequential, images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        chunks = torch.from_numpy(np.ascontiguousarray(images)).float().split(2048)
        return torch.cat([network[:-1](chunk) for chunk in chunks]).double().numpy()


def frechet(left: np.ndarray, right: np.ndarray) -> float:
    """Squared Fréchet distance between the Gaussians fitted to features [n, d] (Heusel 2017)."""
    covariances = [np.cov(part, rowvar=False) for part in (left, right)]
    root = np.real(scipy.linalg.sqrtm(covariances[0] @ covariances[1]))
    means = left.mean(0) - right.mean(0)
    return float(means @ means + np.trace(covariances[0] + covariances[1] - 2 * root))


def _labelled(data_name: str, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images with classes: the digits' own; where there are none, how far an image is turned.

    To tell that takes features of what an image shows, and no labels (Gidaris 2018, arXiv
    1803.07728).
    """
    if data_name == "digits":
        from sklearn.datasets import load_digits

        pixels, labels = load_digits(return_X_y=True)
        return (np.asarray(pixels).reshape(-1, 1, 8, 8) / 8 - 1).astype(np.float32), labels
    return turned(images)


def turned(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images [n, C, H, W] by every quarter turn, and how many quarters: [4 n]."""
    all_four = [np.rot90(images, quarters, axes=(2, 3)) for quarters in range(4)]
    return np.concatenate(all_four), np.repeat(np.arange(4), len(images))


def train_classifier(images: np.ndarray, labels: np.ndarray, seed: int) -> nn.Sequential:
    """A small convolutional classifier; its last layer but one gives NUM_FEATURES features."""
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
    data_name: str, members: list[Member], cache: Path, say: Callable[[str], None]
) -> tuple[list[dict[str, float]], dict[str, float]]:
    """Every yardstick of every member, and of real data; cached, as no critic has a part in it."""
    paths = [cache / f"truth-{member.fingerprint}.npz" for member in members]
    floor_path = cache / f"truth-{Path(data_name).stem}-floor.npz"
    if not all(path.exists() for path in (*paths, floor_path)):
        yardsticks = PlaneTruth(data_name) if data_name in POINTS_2D else ImageTruth(data_name)
        if not floor_path.exists():
            np.savez(floor_path, **yardsticks.floor())
        for member, path in zip(members, paths, strict=True):
            if not path.exists():
                np.savez(path, **yardsticks(_sampler(member)))
                say(f"measured {Path(data_name).stem} trial {member.name}")
    return [_means(path) for path in paths], _means(floor_path)


def _sampler(member: Member) -> Sample:
    rng = torch.Generator().manual_seed(7)

    def sample(num_samples: int) -> np.ndarray:
        latents = torch.randn(num_samples, member.latent_dim, generator=rng)
        return member.generate(latents).double().numpy()

    return sample


def _means(path: Path) -> dict[str, float]:
    """A mean of each yardstick's draws; of Fréchet distances, which have no one scale, in logs."""
    with np.load(path) as file:
        values = {name: file[name] for name in file.files}
    if "frechet" in values:
        logs = np.log(values.pop("frechet"))
        values = {"frechet": np.exp(logs.mean(keepdims=True)), **values}
    return {name: float(v.mean()) for name, v in values.items()}
