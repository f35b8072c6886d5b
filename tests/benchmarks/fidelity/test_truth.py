"""The yardsticks, compared with closed forms."""

import numpy as np
import pytest

from benchmarks.fidelity.known_answers import textbook
from benchmarks.fidelity.truth import exact_w1, frechet, grouped, load_labelled


def points(num_points: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((num_points, 2))


def test_exact_w1_of_a_shifted_cloud_is_the_shift() -> None:
    cloud = points(300, 0)
    assert exact_w1(cloud, cloud + np.array([0.6, -0.8])) == pytest.approx(1)


def test_groups_are_equally_large_and_keep_the_mean() -> None:
    cloud = points(1024, 0)
    groups = grouped(cloud, 64)
    assert groups.shape == (64, 2)
    np.testing.assert_allclose(groups.mean(axis=0), cloud.mean(axis=0), atol=1e-12)


def test_groups_of_one_point_are_the_points() -> None:
    cloud = points(64, 0)
    assert exact_w1(grouped(cloud, 64), cloud) == pytest.approx(0, abs=1e-7)


def test_grouping_changes_w1_by_less_than_it_moves_the_points() -> None:
    """Check the triangle inequality on clouds that differ only by noise."""
    left, right = points(1024, 0), points(1024, 1)
    moved = sum(
        exact_w1(cloud, np.repeat(grouped(cloud, 256), 4, axis=0)) for cloud in (left, right)
    )
    assert abs(exact_w1(grouped(left, 256), grouped(right, 256)) - exact_w1(left, right)) < moved
    assert moved < 0.25


def test_more_points_bring_two_samples_of_one_distribution_nearer() -> None:
    few, many = (
        exact_w1(grouped(points(n, 0), 128), grouped(points(n, 1), 128)) for n in (128, 8192)
    )
    assert many < few / 4


@pytest.mark.parametrize(("shift", "scale", "distance"), [(2.0, 1.0, 3 * 4.0), (0.0, 3.0, 3 * 4.0)])
def test_frechet_of_gaussians_is_that_of_means_and_of_roots(shift, scale, distance) -> None:
    """|m1 - m2|^2 + d (s1 - s2)^2 for covariances s^2 I in d dimensions."""
    rng = np.random.default_rng(0)
    left, right = (rng.standard_normal((200_000, 3)) for _ in range(2))
    assert frechet(left, scale * right + shift) == pytest.approx(distance, rel=0.02)


@pytest.mark.parametrize(("shape", "loaded"), [((4, 6), (1, 4, 6)), ((4, 6, 3), (3, 4, 6))])
def test_labelled_images_are_floats_with_channels_first(tmp_path, shape, loaded) -> None:
    labels = np.array([0, 1], np.uint8)
    np.savez(tmp_path / "a.npz", images=np.full((2, *shape), 255, np.uint8), labels=labels)
    images, found = load_labelled(tmp_path / "a.npz")
    assert images.shape == (2, *loaded)
    assert (images == 1).all()
    assert found.tolist() == [0, 1]


def test_images_without_labels_are_no_truth(tmp_path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 4, 4), np.uint8))
    with pytest.raises(ValueError, match="must have labels, got images"):
        load_labelled(tmp_path / "a.npz")


@pytest.mark.parametrize("case", textbook(0), ids=lambda case: case.name)
def test_textbook_answers_agree_with_exact_transport(case) -> None:
    """Compare them on 2,000 samples a side."""
    import torch

    latents = torch.randn(2000, case.latent_dim, generator=torch.Generator().manual_seed(0))
    fake = case.generate(latents).double().numpy()
    w1 = exact_w1(case.data.final[:2000].astype(float), fake)
    assert w1 == pytest.approx(case.truth, rel=0.03, abs=0.02)
