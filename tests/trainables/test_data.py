"""The contract of every dataset, and the split."""

import subprocess
import sys
import warnings
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from made_datasets import make

from trainables.config import DOWNLOADED, DataConfig
from trainables.data import BadData, Data, as_floats, as_tensor, load, split

DATASETS = get_args(DataConfig.model_fields["dataset"].annotation)
POINTS = ("eight_gaussians", "twenty_five_gaussians", "swiss_roll", "two_moons", "parallel_lines")
SHAPES = {
    **dict.fromkeys(POINTS, (2,)),
    "digits": (1, 8, 8),
    **dict.fromkeys(("mnist", "fashion_mnist", "kmnist"), (1, 28, 28)),
    "cifar10": (3, 32, 32),
    "celeba": (3, 16, 16),
    "image_folder": (3, 12, 12),
    "array": (1, 9, 9),
}


@pytest.fixture(params=DATASETS, scope="module")
def config(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield make(request.param, tmp_path_factory.mktemp(request.param), monkeypatch)


def parts_of(data: Data) -> list[np.ndarray]:
    return [data.train, data.critic_train, data.critic_eval, data.final]


def test_every_part_has_the_shape_and_the_numbers_that_it_should(config: DataConfig) -> None:
    """Images that come as bytes stay bytes; scaled, all lie in [-1, 1], drawn points about so."""
    data = load(config)
    assert data.sample_shape == SHAPES[config.dataset]
    stays = config.dataset in (*DOWNLOADED, "image_folder", "array")
    for part in parts_of(data):
        assert part.dtype == (np.uint8 if stays else np.float32)
        assert part.shape == (len(part), *data.sample_shape)
        assert part.flags.c_contiguous
        floats = as_floats(as_tensor(part))
        assert floats.dtype == torch.float32
        assert floats.abs().max() <= (1.07 if config.dataset in POINTS else 1)
        assert floats.min() < -0.2
        assert floats.max() > 0.2


def test_parts_are_disjoint_and_large_enough(config: DataConfig) -> None:
    parts = parts_of(load(config))
    together = np.concatenate(parts)
    rows = np.unique(together.reshape(len(together), -1), axis=0)
    # On a line, some of so many points are equal once they are float32.
    most_twins = 20 if config.dataset == "parallel_lines" else 0
    assert len(rows) >= len(together) - most_twins
    assert len(together) == {"digits": 1797}.get(
        config.dataset, 28672 if config.dataset in POINTS else 700
    )
    assert min(map(len, parts)) >= 50
    assert max(map(len, parts)) == len(parts[0])


def test_split_assigns_every_sample_once() -> None:
    parts = split(np.arange(1000.0)[:, None], np.random.default_rng(0))
    assert sorted(np.concatenate(parts_of(parts))[:, 0]) == list(range(1000))
    assert [len(part) for part in parts_of(parts)] == [600, 200, 100, 100]


def test_samples_beyond_the_largest_size_of_a_held_out_part_are_trained_on() -> None:
    """40,960 samples are split by shares; of more, at most 8192, 4096 and 8192 are held out."""
    sizes = {}
    for num in (40960, 41000, 100_000):
        parts = parts_of(split(np.arange(num, dtype=np.uint8)[:, None], np.random.default_rng(0)))
        sizes[num] = [len(part) for part in parts]
    assert sizes[40960] == [24576, 8192, 4096, 4096]
    assert sizes[41000] == [41000 - 8192 - 4096 - 4100, 8192, 4096, 4100]
    assert sizes[100_000] == [100_000 - 20480, 8192, 4096, 8192]


def test_a_large_split_assigns_every_sample_once_too() -> None:
    parts = split(np.arange(90_000, dtype=np.float32)[:, None], np.random.default_rng(0))
    assert np.array_equal(np.sort(np.concatenate(parts_of(parts))[:, 0]), np.arange(90_000))


def test_data_too_small_for_the_split_are_refused_with_the_number_needed() -> None:
    split(np.zeros((500, 2)), np.random.default_rng(0))
    with pytest.raises(BadData, match=r"must have at least 500 samples.* got 494: add") as caught:
        split(np.zeros((494, 2)), np.random.default_rng(0), "path")
    assert caught.value.key == "path"


def test_bytes_fill_the_range_and_floats_are_left_alone() -> None:
    """x / 127.5 - 1: 0 is -1, 255 is 1, and the middle lies between 127 and 128."""
    scaled = as_floats(torch.tensor([0, 51, 127, 128, 255], dtype=torch.uint8))
    expected = torch.tensor([-1, -0.6, -1 / 255, 1 / 255, 1])
    torch.testing.assert_close(scaled, expected, atol=1e-7, rtol=0)
    floats = torch.linspace(-3, 3, 7)
    assert as_floats(floats) is floats


def test_a_read_only_part_becomes_a_tensor_without_a_copy_or_a_warning() -> None:
    for dtype in (np.uint8, np.float32):
        part = np.arange(6, dtype=dtype).reshape(3, 2)
        part.flags.writeable = False
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            tensor = as_tensor(part)
        assert tensor.data_ptr() == part.ctypes.data
        assert tensor.tolist() == part.tolist()


def test_data_is_frozen() -> None:
    data = load(DataConfig(dataset="eight_gaussians"))
    with pytest.raises(AttributeError, match="cannot assign to field 'train'"):
        data.train = data.final


def test_importing_the_module_loads_no_slow_library() -> None:
    slow = "{'torch', 'torchvision', 'sklearn', 'PIL'}"
    code = f"import sys, trainables.data; print({slow} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_forty_thousand_real_images_are_not_needed_for_a_split_of_ten_thousand() -> None:
    """The 10,000 MNIST images beside the repository: 60/20/10/10, bytes as they were."""
    path = Path(__file__).parents[3] / "shared/data/mnist_10k.npz"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    data = load(DataConfig(dataset="array", path=str(path)))
    assert [len(part) for part in parts_of(data)] == [6000, 2000, 1000, 1000]
    with np.load(path) as file:
        images = file["images"]
    together = np.concatenate(parts_of(data)).reshape(10_000, -1)
    assert np.array_equal(np.sort(together.sum(1)), np.sort(images.reshape(10_000, -1).sum(1)))


def test_the_same_data_have_the_same_fingerprint_and_others_another():
    points = np.random.default_rng(0).uniform(-1, 1, (600, 4))
    images = np.zeros((600, 1, 2, 2), np.uint8)

    def fingerprint(samples: np.ndarray, seed: int = 0) -> str:
        return split(samples, np.random.default_rng(seed)).fingerprint()

    assert fingerprint(points) == fingerprint(points.copy())
    nudged = points.copy()
    nudged[0, 0] += 1e-3
    others = [fingerprint(nudged), fingerprint(points, 1), fingerprint(images)]
    others += [fingerprint(points.reshape(600, 2, 2)), fingerprint(images.reshape(600, 4))]
    assert len({fingerprint(points), *others}) == 6
