"""Load a dataset and split it into four parts. Images stay bytes until a batch is used."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Num, UInt8

from trainables.config import DOWNLOADED, DataConfig, Scaling, expand
from trainables.datasets import (
    DRAW,
    BadData,
    Note,
    Progress,
    Scale,
    fit,
    load_array,
    load_digits,
    load_downloaded,
    load_image_folder,
    note_dark,
    refuse_equal,
)

if TYPE_CHECKING:
    import torch

__all__ = ["BadData", "Data", "MappedParts", "Scale", "as_floats", "as_tensor", "load", "split"]

#: Shares of the parts of a finite dataset.
SHARES = {"train": 0.6, "critic_train": 0.2, "critic_eval": 0.1, "final": 0.1}
#: Sizes of the parts of a synthetic dataset; also the largest sizes of all held-out parts.
SIZES = {"train": 8192, "critic_train": 8192, "critic_eval": 4096, "final": 8192}
#: The mean over fewer samples is too noisy to rank trials by.
MIN_SAMPLES_PER_PART = 50

Part = Float32[np.ndarray, "_ *sample"] | UInt8[np.ndarray, "_ *sample"]


@dataclass(frozen=True)
class MappedParts:
    """The parts on which generators are scored, mapped into the space of a ground metric.

    Attributes:
        critic_train: The part of this name in :class:`Data`, mapped.
        critic_eval: Likewise.
        final: Likewise.
        ground: Name of the ground metric.
        gains: The factor of each block of its features.
        lipschitz: An upper bound of the map's Lipschitz constant; infinite if there is none.
    """

    critic_train: Float32[np.ndarray, "_ d"]
    critic_eval: Float32[np.ndarray, "_ d"]
    final: Float32[np.ndarray, "_ d"]
    ground: str
    gains: tuple[float, ...]
    lipschitz: float


@dataclass(frozen=True)
class Data:
    """Four disjoint parts of one dataset, each [n, *sample_shape].

    Images [n, C, H, W] are floats in [-1, 1], or bytes, which :func:`as_floats` scales to [-1, 1].
    Vectors [n, d] are floats of about that size.

    Attributes:
        train: The training data of the trials.
        critic_train: The training data of the independent critics at the rungs.
        critic_eval: The data on which these critics are evaluated.
        final: The data on which the critics of the final are evaluated; nothing else uses it.
        scale: How vectors were scaled, if they were.
        mapped: The parts as :func:`trainables.ground.with_ground` maps them; no part of the
            fingerprint.
    """

    train: Part
    critic_train: Part
    critic_eval: Part
    final: Part
    scale: Scale | None = field(default=None, kw_only=True)
    mapped: MappedParts | None = field(default=None, kw_only=True)

    @property
    def compared(self) -> "Data | MappedParts":
        """Return the parts between which and generated samples distances are measured."""
        return self if self.mapped is None else self.mapped

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Return the shape of one sample: (C, H, W) for images, (length,) for vectors."""
        return self.train.shape[1:]

    def fingerprint(self) -> str:
        """Compute a hash of the data and their split, of 32 hexadecimal digits."""
        parts = (self.train, self.critic_train, self.critic_eval, self.final)
        digest = hashlib.blake2b(digest_size=16)
        for part in parts:
            digest.update(f"{part.dtype.str} {part.shape}".encode())
            digest.update(np.ascontiguousarray(part).data)
        if self.scale is not None:
            for numbers in (self.scale.offset, self.scale.factor):
                digest.update(numbers.tobytes())
        return digest.hexdigest()


def load(
    config: DataConfig,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
    note: Note | None = None,
) -> Data:
    """Load the configured dataset and split it; equal configurations give equal splits.

    Args:
        config: The dataset, and the seed of its split.
        cache_dir: Where decoded images are cached; ``None`` caches none.
        progress: Called with the number of image files decoded, and the number of all.
        note: Called with one line about each change to the data, and about files left out.

    Raises:
        BadData: if the data are missing or cannot be used.
    """
    rng = np.random.default_rng(config.split_seed)
    config = _with_expanded_path(config)
    if config.dataset in DRAW:
        return _split_synthetic(DRAW[config.dataset](sum(SIZES.values()), rng))
    if config.dataset == "digits":
        return split(load_digits(), rng)
    progress, note = progress or (lambda done, total: None), note or (lambda text: None)
    if config.dataset in DOWNLOADED:
        return split(load_downloaded(config, cache_dir, progress, note), rng, "path")
    if config.dataset == "image_folder":
        samples = load_image_folder(config, cache_dir, progress, note)
    else:
        samples = load_array(config, note)
    refuse_equal(samples, "path")
    if samples.ndim == 2:
        return _split_vectors(samples, rng, config.scale or "standard", note)
    if samples.dtype == np.uint8:
        note_dark(samples, note)
    return split(samples, rng, "path")


def _with_expanded_path(config: DataConfig) -> DataConfig:
    if config.path is None:
        return config
    try:
        return config.model_copy(update={"path": expand(config.path)})
    except ValueError as error:
        raise BadData("path", str(error)) from None


def split(
    samples: Num[np.ndarray, "n *sample"], rng: np.random.Generator, key: str = "dataset"
) -> Data:
    """Split samples at random into the four parts, by ``SHARES``.

    A held-out part has at most its size in ``SIZES``, which is enough for the critics; further
    samples are added to the training data.

    Args:
        samples: Images [n, C, H, W] or vectors [n, d]: bytes, or numbers in [-1, 1].
        rng: The generator of the permutation.
        key: The key of the section ``data`` that an error names.

    Returns:
        The parts; bytes stay ``uint8``, other numbers become ``float32``.

    Raises:
        BadData: if a part would have fewer than ``MIN_SAMPLES_PER_PART`` samples.
    """
    dtype = np.uint8 if samples.dtype == np.uint8 else np.float32
    # Contiguous: Ray shares only such memory between processes without a copy.
    rows = _rows_of_parts(len(samples), rng, key)
    return Data(*(np.ascontiguousarray(samples[part], dtype) for part in rows))


def _split_vectors(
    vectors: Num[np.ndarray, "n d"], rng: np.random.Generator, scaling: Scaling, note: Note
) -> Data:
    """Split vectors, and scale all parts by the first: held-out data have no influence on it."""
    rows = _rows_of_parts(len(vectors), rng, "path")
    scale = fit(vectors[rows[0]], scaling, note)
    if scale is None:
        return Data(*(np.ascontiguousarray(vectors[part], np.float32) for part in rows))
    return Data(*(scale.apply(vectors[part]) for part in rows), scale=scale)


def _rows_of_parts(num: int, rng: np.random.Generator, key: str) -> list[np.ndarray]:
    """Draw the indices of the samples in each part."""
    ends = np.rint(np.cumsum([*SHARES.values()]) * num).astype(int)
    sizes = np.diff(ends, prepend=0)
    if sizes.min() < MIN_SAMPLES_PER_PART:
        shares = ", ".join(f"{share:.0%} {part}" for part, share in SHARES.items())
        least = round(MIN_SAMPLES_PER_PART / min(SHARES.values()))
        raise BadData(
            key,
            f"must have at least {least} samples, so that each part ({shares}) has "
            f"{MIN_SAMPLES_PER_PART}, enough to rank trials by, got {num}: add samples",
        )
    held_out = np.minimum(sizes[1:], [*SIZES.values()][1:])
    order = rng.permutation(num)
    return np.split(order, np.cumsum([num - held_out.sum(), *held_out[:-1]]))


def as_floats(samples: "torch.Tensor") -> "torch.Tensor":
    """Scale bytes, 0 to 255, to float32 in [-1, 1]; leave floats as they are. Any shape."""
    return samples if samples.is_floating_point() else samples / 127.5 - 1


def as_tensor(part: Part) -> "torch.Tensor":
    """View a part as a tensor on the CPU, without a copy; never write to it.

    Ray hands the parts to trials as read-only memory that all of them share, about which
    ``torch.from_numpy`` would warn. Training only gathers batches from a part, which copies them.
    """
    import torch  # importing it takes seconds

    return torch.from_dlpack(part)


def _split_synthetic(points: np.ndarray) -> Data:
    ends = np.cumsum([*SIZES.values()])[:-1]
    return Data(*np.split(np.ascontiguousarray(points, np.float32), ends))
