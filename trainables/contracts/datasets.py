"""The contract of a dataset."""

import numpy as np

from trainables.config import DataConfig
from trainables.contracts.require import require
from trainables.data import MIN_SAMPLES_PER_PART, Data, as_floats, as_tensor, load

_PARTS = ("train", "critic_train", "critic_eval", "final")


def check_dataset(config: DataConfig, *, max_abs: float = 1.0, max_equal: int = 0) -> None:
    """Check a dataset, such as a folder of images of your own, by loading it three times.

    All parts must have enough samples of one shape, finite and in [-1, 1] once scaled, as float32
    or, for images, as bytes. No sample may be in two parts. The split must follow from its seed.

    Args:
        config: The section ``data``.
        max_abs: The largest absolute value allowed; points of a distribution with tails may lie
            somewhat outside [-1, 1], and vectors scaled to standard deviation 1 do.
        max_equal: Samples that may equal another one.

    Raises:
        AssertionError: if the dataset breaks one of these rules.
        BadData: if it cannot be loaded.
    """
    data = load(config)
    for name in _PARTS:
        _check_part(name, getattr(data, name), data.sample_shape, max_abs)
    parts = np.concatenate([getattr(data, name) for name in _PARTS])
    num_equal = len(parts) - len(np.unique(parts.reshape(len(parts), -1), axis=0))
    require(
        num_equal <= max_equal,
        f"a dataset must have at most {max_equal} samples that equal another, as they could be in "
        f"two parts, got {num_equal}: remove duplicates",
    )
    require(
        _load(config, config.split_seed).fingerprint() == data.fingerprint(),
        "a dataset must be the same each time it is loaded with one split_seed, but differs",
    )
    require(
        _load(config, config.split_seed + 1).fingerprint() != data.fingerprint(),
        "the split of a dataset must depend on split_seed, but does not",
    )


def _load(config: DataConfig, split_seed: int) -> Data:
    return load(config.model_copy(update={"split_seed": split_seed}))


def _check_part(name: str, part: np.ndarray, sample_shape: tuple[int, ...], max_abs: float) -> None:
    require(
        len(part) >= MIN_SAMPLES_PER_PART,
        f"the part {name} must have at least {MIN_SAMPLES_PER_PART} samples, got {len(part)}",
    )
    require(
        part.shape[1:] == sample_shape and len(sample_shape) in (1, 3),
        f"the part {name} must hold vectors [n, d] or images [n, C, H, W], all of shape "
        f"{sample_shape}, got {part.shape}",
    )
    is_image = part.ndim == 4
    require(
        part.dtype == np.float32 or (is_image and part.dtype == np.uint8),
        f"the part {name} must be float32, or uint8 for images, got {part.dtype}",
    )
    require(
        part.flags.c_contiguous,
        f"the part {name} must be contiguous, so that processes can share it without a copy",
    )
    values = as_floats(as_tensor(part))
    require(values.isfinite().all(), f"the part {name} must be finite, got nan or inf")
    require(
        values.abs().max() <= max_abs,
        f"the part {name} must lie in [-{max_abs:g}, {max_abs:g}], got a value of absolute "
        f"{values.abs().max():.3g}",
    )
    require(values.std() > 0, f"the part {name} must hold samples that differ, got equal ones")
