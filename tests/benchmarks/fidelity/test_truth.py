"""The yardsticks, compared with closed forms."""

import numpy as np
import pytest

from benchmarks.fidelity.known_answers import textbook
from benchmarks.fidelity.truth import exact_w1, frechet, grouped, turned


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


def test_turned_images_come_with_their_quarters() -> None:
    images = np.arange(4.0).reshape(1, 1, 2, 2)
    rotated, quarters = turned(images)
    assert quarters.tolist() == [0, 1, 2, 3]
    assert rotated[2].tolist() == [[[3.0, 2.0], [1.0, 0.0]]]


@pytest.mark.parametrize("case", textbook(0), ids=lambda case: case.name)
def test_textbook_answers_agree_with_exact_transport(case) -> None:
    """Compare them on 2,000 samples a side."""
    import torch

    latents = torch.randn(2000, case.latent_dim, generator=torch.Generator().manual_seed(0))
    fake = case.generate(latents).double().numpy()
    w1 = exact_w1(case.data.final[:2000].astype(float), fake)
    assert w1 == pytest.approx(case.truth, rel=0.03, abs=0.02)
