"""Distort real images in known orders: ladders, each in one way, more at every level."""

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

Images = np.ndarray  # [n, channels, height, width], float32 in [-1, 1]
Level = float | int | str
Distort = Callable[[Images, np.ndarray, Level, np.random.Generator], Images]


def _blur(x: Images, _: np.ndarray, sigma: Level, rng: np.random.Generator) -> Images:
    return gaussian_filter(x, (0, 0, float(sigma), float(sigma)), mode="nearest")


def _noise(x: Images, _: np.ndarray, size: Level, rng: np.random.Generator) -> Images:
    return (x + float(size) * rng.standard_normal(x.shape)).clip(-1, 1)


def _salt(x: Images, _: np.ndarray, share: Level, rng: np.random.Generator) -> Images:
    hit = rng.random((len(x), 1, *x.shape[2:])) < float(share)
    return np.where(hit, rng.choice([-1.0, 1.0], hit.shape), x)


def _rectangles(x: Images, _: np.ndarray, share: Level, rng: np.random.Generator) -> Images:
    x = x.copy()
    height, width = (round(float(share) * side) for side in x.shape[2:])
    for image in x:
        top, left = (
            rng.integers(s - r + 1) for s, r in zip(x.shape[2:], (height, width), strict=True)
        )
        image[:, top : top + height, left : left + width] = rng.uniform(-1, 1)
    return x


def _classes(x: Images, labels: np.ndarray, kept: Level, rng: np.random.Generator) -> Images:
    order = rng.permutation(np.unique(labels))
    num = {"most": math.ceil(0.8 * len(order)), "half": len(order) // 2, "one": 1}[str(kept)]
    pool = x[np.isin(labels, order[:num])]
    return pool[rng.integers(len(pool), size=len(x))]


def _copies(x: Images, _: np.ndarray, distinct: Level, rng: np.random.Generator) -> Images:
    return x[rng.integers(min(int(distinct), len(x)), size=len(x))]


def _averaged(x: Images, _: np.ndarray, share: Level, rng: np.random.Generator) -> Images:
    return (1 - float(share)) * x + float(share) * x[rng.permutation(len(x))]


def _pca(x: Images, _: np.ndarray, rank: Level, rng: np.random.Generator) -> Images:
    flat = torch.from_numpy(x.reshape(len(x), -1))
    mean = flat.mean(0)
    basis = torch.linalg.eigh((flat - mean).T @ (flat - mean)).eigenvectors[:, -int(rank) :]
    return (mean + (flat - mean) @ basis @ basis.T).clamp(-1, 1).reshape(x.shape).numpy()


def _shuffle(x: Images, _: np.ndarray, pieces: Level, rng: np.random.Generator) -> Images:
    num, (n, c, height, width) = int(pieces), x.shape
    high, wide = height // num, width // num
    cut = x[:, :, : high * num, : wide * num].reshape(n, c, num, high, num, wide)
    cut = cut.transpose(0, 2, 4, 1, 3, 5).reshape(n, num * num, c, high, wide)
    cut = np.stack([image[rng.permutation(num * num)] for image in cut])
    cut = cut.reshape(n, num, num, c, high, wide).transpose(0, 3, 1, 4, 2, 5)
    out = x.copy()
    out[:, :, : high * num, : wide * num] = cut.reshape(n, c, high * num, wide * num)
    return out


def _checkers(x: Images, _: np.ndarray, size: Level, rng: np.random.Generator) -> Images:
    signs = np.indices(x.shape[2:]).sum(0) % 2 * 2 - 1
    return x + float(size) * signs


def _nearest(x: Images, _: np.ndarray, factor: Level, rng: np.random.Generator) -> Images:
    k, (n, c, height, width) = int(factor), x.shape
    means = x.reshape(n, c, height // k, k, width // k, k).mean((3, 5))
    return means.repeat(k, 2).repeat(k, 3)


def _contrast(x: Images, _: np.ndarray, factor: Level, rng: np.random.Generator) -> Images:
    return float(factor) * x


def _shift(x: Images, _: np.ndarray, by: Level, rng: np.random.Generator) -> Images:
    # Mirrored where nothing comes in: images that are rolled around have a seam.
    padded = np.pad(x, ((0, 0), (0, 0), (0, 0), (int(by), 0)), mode="symmetric")
    return padded[..., : x.shape[3]]


LADDERS: Mapping[str, tuple[Distort, tuple[Level, ...]]] = {
    "blur": (_blur, (0.5, 1.0, 2.0, 4.0)),
    "noise": (_noise, (0.05, 0.1, 0.2, 0.4, 0.8)),
    "salt and pepper": (_salt, (0.01, 0.03, 0.1, 0.3)),
    "rectangles": (_rectangles, (0.125, 0.25, 0.5, 0.75)),
    "classes": (_classes, ("most", "half", "one")),
    "copies of": (_copies, (300, 30, 10, 1)),
    "two averaged": (_averaged, (0.1, 0.2, 0.35, 0.5)),
    "PCA": (_pca, (64, 32, 16, 8, 4)),
    "patch shuffle": (_shuffle, (2, 4, 7)),
    "checkerboard": (_checkers, (0.05, 0.1, 0.2, 0.4)),
    "nearest": (_nearest, (2, 4)),
    "contrast": (_contrast, (0.9, 0.7, 0.5, 0.25)),
    "shift": (_shift, (1, 2, 4)),
}

#: The first of each is nearer to the data than the second, as everyone would say.
UNDISPUTED = (
    (("shift", 1), ("blur", 2.0)),
    (("contrast", 0.9), ("rectangles", 0.5)),
    (("classes", "most"), ("classes", "one")),
    (("contrast", 0.9), ("two averaged", 0.5)),
    (("shift", 1), ("patch shuffle", 4)),
    (("noise", 0.05), ("copies of", 1)),
    (("contrast", 0.9), ("patch shuffle", 2)),
    (("shift", 1), ("two averaged", 0.35)),
    (("noise", 0.05), ("blur", 2.0)),
    (("contrast", 0.9), ("PCA", 4)),
    (("checkerboard", 0.2), ("copies of", 1)),
)
