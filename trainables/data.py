"""A dataset in four parts: loaded once, split, and kept as small as it came until it is used."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Num, UInt8

from trainables.config import DOWNLOADED, DataConfig
from trainables.datasets import (
    DRAW,
    BadData,
    Note,
    Progress,
    load_array,
    load_digits,
    load_downloaded,
    load_image_folder,
)

if TYPE_CHECKING:
    import torch

__all__ = ["BadData", "Data", "as_floats", "as_tensor", "load", "split"]

#: Shares of a dataset that is given: for the trials, and for each use of the independent critic.
SHARES = {"train": 0.6, "fit": 0.2, "read": 0.1, "final": 0.1}
#: Points of a dataset that is drawn, of which there are as many as one likes.
DRAWN = {"train": 8192, "fit": 8192, "read": 4096, "final": 8192}
#: A mean over fewer samples says too little of a distribution to rank trials by.
MIN_SAMPLES_PER_PART = 50

Part = Float32[np.ndarray, "_ *sample"] | UInt8[np.ndarray, "_ *sample"]


@dataclass(frozen=True)
class Data:
    """Four disjoint parts of one dataset, [n, *sample_shape]: floats in [-1, 1], or bytes.

    Trials train on ``train``. At the rungs the independent critic is fitted on ``fit`` and read
    on ``read``; ``final`` is read once, when the trials are done. Images are [n, C, H, W];
    :func:`as_floats` scales bytes, which are always images, to [-1, 1].
    """

    train: Part
    fit: Part
    read: Part
    final: Part

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample: (C, H, W) for images, (length,) for vectors."""
        return self.train.shape[1:]

    def fingerprint(self) -> str:
        """A name for the data and their split: the same bits have the same, others another."""
        parts = (self.train, self.fit, self.read, self.final)
        digest = hashlib.blake2b(digest_size=16)
        for part in parts:
            digest.update(f"{part.dtype.str} {part.shape}".encode())
            digest.update(np.ascontiguousarray(part).data)
        return digest.hexdigest()


def load(
    config: DataConfig,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
    note: Note | None = None,
) -> Data:
    """Load the configured dataset, split by ``config.split_seed`` and by nothing else.

    Args:
        config: Which dataset.
        cache_dir: Where decoded images are kept for the next time; ``None`` keeps none.
        progress: Told how many image files of how many are decoded.
        note: Told in one line each what was done to the data, or left out.

    Raises:
        BadData: where the data are not there, or cannot be used.
    """
    rng = np.random.default_rng(config.split_seed)
    if config.dataset in DRAW:
        return _deal_drawn(DRAW[config.dataset](sum(DRAWN.values()), rng))
    if config.dataset == "digits":
        return split(load_digits(), rng)
    progress, note = progress or (lambda done, total: None), note or (lambda text: None)
    if config.dataset in DOWNLOADED:
        return split(load_downloaded(config, cache_dir, progress, note), rng, "path")
    if config.dataset == "image_folder":
        return split(load_image_folder(config, cache_dir, progress, note), rng, "path")
    return split(load_array(config, note), rng, "path")


def split(
    samples: Num[np.ndarray, "n *sample"], rng: np.random.Generator, key: str = "dataset"
) -> Data:
    """Deal all samples out to the four parts at random, by ``SHARES``.

    A held-out part has no more than ``DRAWN``, which is enough for the critics: what it would
    have beyond is trained on. ``uint8`` stays, all else becomes ``float32``.

    Raises:
        BadData: about ``key``, where there are so few that a part would have less than
            ``MIN_SAMPLES_PER_PART``.
    """
    ends = np.rint(np.cumsum([*SHARES.values()]) * len(samples)).astype(int)
    sizes = np.diff(ends, prepend=0)
    if sizes.min() < MIN_SAMPLES_PER_PART:
        shares = ", ".join(f"{share:.0%} {part}" for part, share in SHARES.items())
        least = round(MIN_SAMPLES_PER_PART / min(SHARES.values()))
        raise BadData(
            key,
            f"must have at least {least} samples, or a held-out part ({shares}) has fewer than "
            f"{MIN_SAMPLES_PER_PART} and its mean says too little to rank trials by, got "
            f"{len(samples)}: add samples",
        )
    held_out = np.minimum(sizes[1:], [*DRAWN.values()][1:])
    num_train = len(samples) - held_out.sum()
    order = rng.permutation(len(samples))
    parts = np.split(order, np.cumsum([num_train, *held_out[:-1]]))
    dtype = np.uint8 if samples.dtype == np.uint8 else np.float32
    # In the order of their axes: other memory could not be shared between processes uncopied.
    return Data(*(np.ascontiguousarray(samples[part], dtype) for part in parts))


def as_floats(samples: "torch.Tensor") -> "torch.Tensor":
    """Scale bytes, 0 to 255, to float32 in [-1, 1]; leave floats as they are. Any shape."""
    return samples if samples.is_floating_point() else samples / 127.5 - 1


def as_tensor(part: Part) -> "torch.Tensor":
    """Look at a part as a tensor on the CPU, without a copy: it must never be written to.

    The parts that Ray hands to trials are read-only, being memory that all of them share.
    ``torch.from_numpy`` warns of that. Here batches are gathered from a part, which copies them,
    and nothing changes one in place.
    """
    import torch  # seconds that those who only load data need not wait

    return torch.from_dlpack(part)


def _deal_drawn(points: np.ndarray) -> Data:
    ends = np.cumsum([*DRAWN.values()])[:-1]
    return Data(*np.split(np.ascontiguousarray(points, np.float32), ends))
