import subprocess
import sys
from typing import get_args

import numpy as np
import pytest
from sklearn.datasets import load_digits

from trainables.config import DataConfig
from trainables.data import Data, load, split

DATASETS = get_args(DataConfig.model_fields["dataset"].annotation)


def load_parts(dataset: str, split_seed: int = 0) -> list[np.ndarray]:
    data = load(DataConfig(dataset=dataset, split_seed=split_seed))
    return [data.train, data.fit, data.read, data.final]


def sorted_rows(samples: np.ndarray) -> np.ndarray:
    rows = samples.reshape(len(samples), -1)
    return rows[np.lexsort(rows.T)]


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_part_is_float32_of_the_sample_shape(dataset: str) -> None:
    data = load(DataConfig(dataset=dataset))
    assert len(data.sample_shape) in (1, 3)
    for part in (data.train, data.fit, data.read, data.final):
        assert part.dtype == np.float32
        assert part.shape == (len(part), *data.sample_shape)


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_same_split_seed_gives_the_same_data_and_another_one_other_data(dataset: str) -> None:
    again, other = load_parts(dataset), load_parts(dataset, split_seed=1)
    for part, same, different in zip(load_parts(dataset), again, other, strict=True):
        assert np.array_equal(part, same)
        assert not np.array_equal(part, different)


def test_digits_are_split_60_20_10_10_without_loss_or_overlap() -> None:
    """The four parts together are scikit-learn's images, each once, in [-1, 1] at both ends."""
    parts = load_parts("digits")
    assert [len(part) for part in parts] == [1078, 360, 179, 180]
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


@pytest.mark.parametrize("dataset", ["eight_gaussians", "twenty_five_gaussians", "swiss_roll"])
def test_parts_of_drawn_points_share_no_point(dataset: str) -> None:
    parts = load_parts(dataset)
    assert [len(part) for part in parts] == [8192, 8192, 4096, 8192]
    assert len(np.unique(np.concatenate(parts), axis=0)) == 28672


def test_twenty_five_gaussians_lie_on_a_grid_with_std_00125() -> None:
    """Five by five means half apart; the deviation from the nearest has the std on either axis."""
    for part in load_parts("twenty_five_gaussians"):
        means = np.round(part * 2) / 2
        deviations = part - means
        assert deviations.std(axis=0) == pytest.approx(0.0125, rel=0.05)
        counts = np.unique(means, axis=0, return_counts=True)[1]
        assert len(counts) == 25
        assert counts / len(part) == pytest.approx(1 / 25, abs=0.015)


def test_the_swiss_roll_is_a_spiral_whose_radius_grows_with_its_angle() -> None:
    """Radius t and angle t for t from 1.5 pi to 4.5 pi, in units of 1/15, with noise of 0.25."""
    for part in load_parts("swiss_roll"):
        radius = np.linalg.norm(part, axis=1) * 15
        off = radius - np.arctan2(part[:, 1], part[:, 0])
        assert np.angle(np.exp(1j * off)).std() == pytest.approx(0.25, rel=0.1)
        assert 1.5 * np.pi - 1 < radius.min() < radius.max() < 4.5 * np.pi + 1
        assert np.abs(part).max() < 1


def test_split_deals_every_sample_out_once() -> None:
    parts = split(np.arange(1000.0)[:, None], np.random.default_rng(0))
    dealt = np.concatenate([parts.train, parts.fit, parts.read, parts.final])[:, 0]
    assert sorted(dealt) == list(range(1000))


def test_data_too_small_for_the_split_is_refused_with_the_least_number() -> None:
    split(np.zeros((500, 2)), np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"must have at least 500 samples.* got 494: add samples"):
        split(np.zeros((494, 2)), np.random.default_rng(0))


def test_data_is_frozen() -> None:
    data = Data(*load_parts("eight_gaussians"))
    with pytest.raises(AttributeError, match="cannot assign to field 'train'"):
        data.train = data.read


def test_importing_the_module_loads_neither_torch_nor_scikit_learn() -> None:
    code = "import sys, trainables.data; print({'torch', 'sklearn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
