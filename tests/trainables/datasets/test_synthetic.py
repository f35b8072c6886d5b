"""Points drawn from distributions whose moments are known."""

import numpy as np
import pytest

from trainables.datasets.synthetic import DRAW


def draw(name: str, num_points: int = 28672) -> np.ndarray:
    return DRAW[name](num_points, np.random.default_rng(0))


@pytest.mark.parametrize("name", DRAW)
def test_no_point_is_drawn_twice(name: str) -> None:
    assert len(np.unique(draw(name), axis=0)) == 28672


def test_eight_gaussians_lie_on_the_unit_circle_with_std_001() -> None:
    """The deviation from the nearest of the 8 means has mean 0 and std 0.01 on either axis."""
    angles = np.arange(8) * np.pi / 4
    means = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    points = draw("eight_gaussians")
    distances = np.linalg.norm(points[:, None] - means, axis=2)
    deviations = points - means[distances.argmin(axis=1)]
    assert deviations.std(axis=0) == pytest.approx(0.01, rel=0.05)
    assert deviations.mean(axis=0) == pytest.approx(0, abs=1e-3)
    assert np.abs(points).max() < 1.06
    shares = np.bincount(distances.argmin(axis=1), minlength=8) / len(points)
    assert shares == pytest.approx(1 / 8, abs=0.03)


def test_twenty_five_gaussians_lie_on_a_grid_with_std_00125() -> None:
    """Five by five means half apart; the deviation from the nearest has the std on either axis."""
    points = draw("twenty_five_gaussians")
    means = np.round(points * 2) / 2
    assert (points - means).std(axis=0) == pytest.approx(0.0125, rel=0.05)
    counts = np.unique(means, axis=0, return_counts=True)[1]
    assert len(counts) == 25
    assert counts / len(points) == pytest.approx(1 / 25, abs=0.015)


def test_the_swiss_roll_is_a_spiral_whose_radius_grows_with_its_angle() -> None:
    """Radius t and angle t for t from 1.5 pi to 4.5 pi, in units of 1/15, with noise of 0.25."""
    points = draw("swiss_roll")
    radius = np.linalg.norm(points, axis=1) * 15
    off = radius - np.arctan2(points[:, 1], points[:, 0])
    assert np.angle(np.exp(1j * off)).std() == pytest.approx(0.25, rel=0.1)
    assert 1.5 * np.pi - 1 < radius.min() < radius.max() < 4.5 * np.pi + 1
    assert np.abs(points).max() < 1


def test_two_moons_are_two_half_circles_about_their_centres() -> None:
    """Radius 1/1.75; an upper one about (-0.5, -0.25) / 1.75, a lower about (0.5, 0.25) / 1.75.

    Half of all points lie on either, within the noise of 0.05 / 1.75.
    """
    points = draw("two_moons") * 1.75
    off = np.stack(
        [np.linalg.norm(points - side * np.array([0.5, 0.25]), axis=1) for side in (-1, 1)]
    )
    upper = (np.abs(off[0] - 1) < np.abs(off[1] - 1)) & (points[:, 1] > -0.45)
    nearest = np.abs(off - 1).min(axis=0)
    assert np.sqrt((nearest**2).mean()) == pytest.approx(0.05, rel=0.1)
    assert upper.mean() == pytest.approx(0.5, abs=0.05)
    assert np.abs(points / 1.75).max() < 1


def test_parallel_lines_are_upright_and_one_apart() -> None:
    points = draw("parallel_lines")
    assert set(points[:, 0]) == {-0.5, 0.5}
    for x in (-0.5, 0.5):
        y = points[points[:, 0] == x, 1]
        assert len(y) / len(points) == pytest.approx(0.5, abs=0.02)
        assert y.mean() == pytest.approx(0, abs=0.03)
        assert y.std() == pytest.approx(1 / np.sqrt(3), rel=0.02)  # of a uniform one
