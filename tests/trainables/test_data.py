import subprocess
import sys
from typing import get_args

import numpy as np
import pytest
from sklearn.datasets import load_digits

from trainables.config import DataConfig
from trainables.data import Data, load

DATASETS = get_args(DataConfig.model_fields["dataset"].annotation)


def load_parts(dataset: str, split_seed: int = 0) -> list[np.ndarray]:
    data = load(DataConfig(dataset=dataset, split_seed=split_seed))
    return [data.train, data.fit, data.read]


def sorted_rows(samples: np.ndarray) -> np.ndarray:
    rows = samples.reshape(len(samples), -1)
    return rows[np.lexsort(rows.T)]


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_part_is_float32_of_the_sample_shape(dataset: str) -> None:
    data = load(DataConfig(dataset=dataset))
    assert len(data.sample_shape) in (1, 3)
    for part in (data.train, data.fit, data.read):
        assert part.dtype == np.float32
        assert part.shape == (len(part), *data.sample_shape)


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_same_split_seed_gives_the_same_data_and_another_one_other_data(dataset: str) -> None:
    again, other = load_parts(dataset), load_parts(dataset, split_seed=1)
    for part, same, different in zip(load_parts(dataset), again, other, strict=True):
        assert np.array_equal(part, same)
        assert not np.array_equal(part, different)


def test_digits_are_split_60_20_20_without_loss_or_overlap() -> None:
    """The three parts together are scikit-learn's images, each once, in [-1, 1] at both ends."""
    parts = load_parts("digits")
    assert [len(part) for part in parts] == [1078, 360, 359]
    together = np.concatenate(parts)
    assert (together.min(), together.max()) == (-1, 1)
    assert np.array_equal(sorted_rows(together * 8 + 8), sorted_rows(load_digits().images))


def test_digits_are_images_with_rows_and_columns_in_place() -> None:
    """Each image of the first part is one of scikit-learn's, pixel for pixel."""
    originals = {image.tobytes() for image in load_digits().images}
    train = load_parts("digits")[0]
    assert train.shape[1:] == (1, 8, 8)
    assert all((image[0] * 8 + 8).astype(float).tobytes() in originals for image in train)


def test_digits_are_shuffled_before_the_split() -> None:
    """In scikit-learn's order each part would hold other writers."""
    first = (load_digits().images[:1078] / 8 - 1).astype(np.float32)
    assert not np.array_equal(sorted_rows(load_parts("digits")[0]), sorted_rows(first))


def test_eight_gaussians_lie_on_the_unit_circle_with_std_001() -> None:
    """The deviation from the nearest of the 8 means has mean 0 and std 0.01 on either axis."""
    angles = np.arange(8) * np.pi / 4
    means = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    for part in load_parts("eight_gaussians"):
        distances = np.linalg.norm(part[:, None] - means, axis=2)
        deviations = part - means[distances.argmin(axis=1)]
        assert deviations.std(axis=0) == pytest.approx(0.01, rel=0.05)
        assert deviations.mean(axis=0) == pytest.approx(0, abs=1e-3)
        assert np.abs(part).max() < 1.06
        shares = np.bincount(distances.argmin(axis=1), minlength=8) / len(part)
        assert shares == pytest.approx(1 / 8, abs=0.03)


def test_eight_gaussians_parts_share_no_point() -> None:
    parts = load_parts("eight_gaussians")
    assert [len(part) for part in parts] == [8192, 4096, 4096]
    assert len(np.unique(np.concatenate(parts), axis=0)) == 16384


def test_data_is_frozen() -> None:
    data = Data(*load_parts("eight_gaussians"))
    with pytest.raises(AttributeError, match="cannot assign to field 'train'"):
        data.train = data.read


def test_importing_the_module_loads_neither_torch_nor_scikit_learn() -> None:
    code = "import sys, trainables.data; print({'torch', 'sklearn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
