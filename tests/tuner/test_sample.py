"""Samples as a picture or an array: what is in the file, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trainables.config import NetworkConfig, TrialConfig
from trainables.training.state import TrainState
from trainables.trial import generator_file
from tuner.results import generators
from tuner.sample import main

NETWORKS = NetworkConfig(latent_dim=5, generator_width=8, critic_width=8)


def save(path: Path, sample_shape: tuple[int, ...], networks: NetworkConfig = NETWORKS) -> Path:
    config = TrialConfig(networks=networks)
    state = TrainState.create(config, sample_shape, "cpu")
    torch.save(generator_file(state, config, sample_shape), path)
    return path


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return save(tmp_path / "generator.pt", (1, 8, 8))


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    return save(tmp_path / "vectors.pt", (2,))


def array(path: Path, *options: str) -> np.ndarray:
    assert main([str(path), "--out", "out.npy", *options]) == 0
    return np.load("out.npy")


def test_an_array_has_as_many_samples_as_were_asked_for(images: Path) -> None:
    samples = array(images, "--num", "300")
    assert (samples.shape, samples.dtype) == ((300, 1, 8, 8), np.float32)
    assert np.abs(samples).max() <= 1
    np.testing.assert_allclose(samples[:7], array(images, "--num", "7"), atol=1e-6)
    assert not np.allclose(samples[:7], array(images, "--num", "7", "--seed", "1"))


def test_rows_of_an_interpolation_begin_and_end_at_drawn_latents(images: Path) -> None:
    from trainables.latents import drawn

    samples = array(images, "--interpolate", "--num", "16").reshape(2, 8, 1, 8, 8)
    ends = generators.generator_of_file(images)(drawn(4, 5, 0)).numpy()
    np.testing.assert_allclose(samples[:, 0], ends[0::2], atol=1e-5)
    np.testing.assert_allclose(samples[:, -1], ends[1::2], atol=1e-5)
    steps = np.abs(np.diff(samples, axis=1)).mean(axis=(2, 3, 4))
    assert steps.max() < np.abs(samples[:, -1] - samples[:, 0]).mean()  # no jump between two


def test_a_picture_is_made_here_and_again_the_same(images: Path, tmp_path: Path) -> None:
    assert main([str(images)]) == 0
    path = tmp_path / "generator-samples-64-seed-0.png"
    first = path.read_bytes()
    with Image.open(path) as picture:
        assert picture.size == (504, 504)  # 8 times 8 + 1 pixels, seven times enlarged
    assert main([str(images)]) == 0
    assert path.read_bytes() == first
    assert main([str(images), "--interpolate", "--num", "8", "--out", "row.png"]) == 0
    with Image.open("row.png") as picture:
        assert picture.width == 8 * picture.height


def test_a_generator_that_draws_random_numbers_makes_the_same_samples_again(
    images: Path, tmp_path: Path
) -> None:
    networks = NetworkConfig(latent_dim=5, generator="custom_networks:NoisyGenerator")
    noisy = save(tmp_path / "noisy.pt", (2,), networks)
    options = ("--allow-code", "custom_networks")
    np.testing.assert_array_equal(array(noisy, *options), array(noisy, *options))


def test_vectors_are_drawn_as_points(images: Path, vectors: Path) -> None:
    assert main([str(vectors), "--out", "points.png", "--num", "500"]) == 0
    with Image.open("points.png") as picture:
        assert picture.width == picture.height
    assert array(vectors, "--interpolate", "--num", "8").shape == (8, 2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--out", "x.jpg"], "--out: must end in .png or .npy, got 'x.jpg'"),
        (["--out", "no/x.png"], "--out: there is no folder no: make it first"),
        (["--num", "0"], "--num: must be at least 1 and at most 10,000 for a picture, got 0"),
        (["--interpolate", "--num", "9"], "--num: must be a multiple of 8 with --interpolate"),
        (["--seed", "-1"], "--seed: must be at least 0"),
        (["--trial", "1"], "--trial: needs a search's folder"),
    ],
)
def test_what_cannot_be_done_is_refused_and_nothing_is_written(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert main([str(images), *options]) == 2
    assert said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["generator.pt"]


def test_a_picture_of_ways_between_vectors_is_refused(
    images: Path, vectors: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(vectors), "--interpolate"]) == 2
    assert "can be drawn of images only, and these are vectors" in capsys.readouterr().err


def test_a_folder_of_no_search_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path)]) == 2
    assert "holds no search: it has no spec.yaml" in capsys.readouterr().err
