"""The scale of vectors: of each column, by the training data alone, and back."""

import numpy as np
import pytest
import torch

from trainables.config import DataConfig, NetworkConfig, TrialConfig
from trainables.data import Data, load
from trainables.datasets.errors import BadData
from trainables.datasets.scaling import fit
from trainables.serving import _load_pyfunc
from trainables.training import TrainState
from trainables.trial import generator_file, load_generator
from tuner.results import generator_of_file

RNG = np.random.default_rng(0)
#: Columns in units that differ by nine orders of magnitude, as in a table.
TABLE = RNG.standard_normal((1000, 3)) * [1e-3, 1.0, 1e6] + [5.0, 0.0, -3e6]


def loaded(tmp_path, table: np.ndarray, notes: list[str] | None = None, **options) -> Data:
    np.save(tmp_path / "table.npy", table)
    given = {"dataset": "array", "path": str(tmp_path / "table.npy"), **options}
    return load(DataConfig.model_validate(given), note=(notes if notes is not None else []).append)


def test_by_default_each_column_of_the_training_data_has_mean_0_and_deviation_1(tmp_path) -> None:
    data = loaded(tmp_path, TABLE)
    np.testing.assert_allclose(data.train.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(data.train.std(0), 1, rtol=1e-5)
    assert not np.allclose(data.final.mean(0), 0, atol=1e-5)  # by the training data alone


def test_min_max_maps_each_column_of_the_training_data_to_the_range(tmp_path) -> None:
    data = loaded(tmp_path, TABLE, scale="min_max")
    np.testing.assert_allclose(data.train.min(0), -1, rtol=1e-6)
    np.testing.assert_allclose(data.train.max(0), 1, rtol=1e-6)


def test_whole_maps_all_columns_by_one_map(tmp_path) -> None:
    points = RNG.uniform(0, 4, (1000, 2)) * [1, 0.5]
    data = loaded(tmp_path, points, scale="whole")
    assert data.scale is not None
    assert len(set(data.scale.factor)) == len(set(data.scale.offset)) == 1
    assert (data.train.min(), data.train.max()) == (-1, 1)


def test_none_leaves_the_numbers_as_they_are(tmp_path) -> None:
    points = RNG.uniform(-2, 4, (1000, 2))
    data = loaded(tmp_path, points, scale="none")
    assert data.scale is None
    parts = np.concatenate([data.train, data.critic_train, data.critic_eval, data.final])
    assert np.array_equal(np.sort(parts[:, 0]), np.sort(points[:, 0].astype(np.float32)))


def test_numbers_too_large_for_a_network_are_scaled(tmp_path) -> None:
    with pytest.raises(
        BadData, match=r"must not be none for numbers above 100, got .*e\+06"
    ) as one:
        loaded(tmp_path, TABLE, scale="none")
    assert one.value.key == "scale"


def test_numbers_whose_squares_overflow_are_refused() -> None:
    vectors = np.linspace(-1e200, 1e200, 20).reshape(10, 2)
    with pytest.raises(BadData, match=r"cannot be standard .*got 1e\+200: divide them first"):
        fit(vectors, "standard", lambda text: None)
    assert fit(vectors, "min_max", lambda text: None) is not None


def test_constant_columns_are_named_and_stay_what_they_are(tmp_path) -> None:
    notes: list[str] = []
    table = TABLE.copy()
    table[:, 1] = 7.5
    data = loaded(tmp_path, table, notes)
    assert notes[-1].startswith("vectors: column 1 is always 7.5 in the training data")
    assert (data.train[:, 1] == 0).all()
    assert data.scale is not None
    assert data.scale.offset[1] == 7.5


@pytest.mark.parametrize("scale", ["standard", "min_max", "whole"])
def test_a_generator_returns_samples_in_the_units_of_the_data(tmp_path, scale) -> None:
    """By each way of loading it: a generator of the scaled data returns the data."""
    data = loaded(tmp_path, TABLE, scale=scale)
    config = TrialConfig(networks=NetworkConfig(latent_dim=3, generator_width=8))
    state = TrainState.create(config, (3,))
    latents = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    scaled = state.generator.eval()(latents).detach().double().numpy()
    expected = scaled * data.scale.factor + data.scale.offset
    torch.save(generator_file(state, config, (3,), data.scale), tmp_path / "generator.pt")

    generator, latent_dim = load_generator(tmp_path / "generator.pt", torch.device("cpu"))
    assert latent_dim == 3
    for samples in (
        generator(latents).detach().numpy(),
        generator_of_file(tmp_path / "generator.pt")(latents).numpy(),
        _load_pyfunc(str(tmp_path / "generator.pt")).predict(latents.numpy()),
    ):
        assert samples.dtype == np.float32
        np.testing.assert_allclose(samples, expected, rtol=1e-6)


def test_equal_numbers_of_other_units_are_other_data(tmp_path) -> None:
    metres, millimetres = (loaded(tmp_path, TABLE * unit) for unit in (1.0, 1024.0))
    assert np.array_equal(metres.train, millimetres.train)
    assert metres.fingerprint() != millimetres.fingerprint()
