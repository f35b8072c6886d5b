from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trainables.data import as_floats
from trainables.pictures import (
    _correlations,
    _projected,
    num_drawn,
    save_generated,
    save_samples,
)


def test_images_keep_their_positions_and_pixels(tmp_path: Path) -> None:
    """Real on the left, generated on the right; the third image of a row is third in its row."""
    real, generated = torch.full((64, 1, 8, 8), -1.0), torch.full((64, 1, 8, 8), -1.0)
    real[2], generated[8] = 1.0, 1.0
    save_samples(real, generated, tmp_path / "samples.png")
    pixels = np.asarray(Image.open(tmp_path / "samples.png"))
    scale = pixels.shape[0] // 72
    pixels = pixels[::scale, ::scale]
    assert pixels.shape == (72, 72 + 4 + 72)
    expected = np.zeros((72, 148), dtype=np.uint8)
    expected[:, 72:76] = 255  # the gap
    expected[0:8, 18:26] = 255  # first row, third column
    expected[9:17, 76:84] = 255  # second row, first column
    np.testing.assert_array_equal(pixels, expected)


def test_colour_images_stay_coloured(tmp_path: Path) -> None:
    red = torch.tensor([1.0, -1.0, -1.0]).reshape(1, 3, 1, 1).expand(5, 3, 32, 32)
    save_samples(red, red, tmp_path / "samples.png")
    assert np.asarray(Image.open(tmp_path / "samples.png"))[3, 3].tolist() == [255, 0, 0]


def test_points_are_drawn_as_two_scatter_plots(tmp_path: Path) -> None:
    """Points spread over the square leave more ink than as many on one spot, on their own side."""
    spread = torch.rand(500, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    ink = []
    for real, generated in ((spread, spread * 0), (spread * 0, spread)):
        save_samples(real, generated, tmp_path / "samples.png")
        grey = np.asarray(Image.open(tmp_path / "samples.png").convert("L"))
        ink.append([int((half < 250).sum()) for half in np.array_split(grey, 2, axis=1)])
    assert ink[0][0] > ink[1][0] + 500
    assert ink[1][1] > ink[0][1] + 500


@pytest.mark.parametrize("unit", [1.0, 1e-3, 1e6])
def test_points_in_any_units_fill_the_picture(tmp_path: Path, unit: float) -> None:
    """The axes suit vectors in a table's units, even if one value is far out."""
    rng = torch.Generator().manual_seed(0)
    points = 7 + torch.tensor([3, 3 * unit]) * torch.randn(2000, 2, generator=rng)
    points[0] = 1e9
    save_generated(points, tmp_path / "samples.png")
    grey = np.asarray(Image.open(tmp_path / "samples.png").convert("L"))
    ink = grey[60:340, 90:360] < 250
    assert all(
        quarter.sum() > 300
        for half in np.array_split(ink, 2)
        for quarter in np.array_split(half, 2, 1)
    )


def test_correlations_are_numpys_and_blank_for_a_constant_column() -> None:
    samples = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    samples[:, 1] += 2 * samples[:, 0]
    samples[:, 3] = 0.1
    found = _correlations(samples)
    np.testing.assert_allclose(found[:3, :3], np.corrcoef(samples[:, :3].T), atol=1e-6)
    assert found[3].isnan().all()
    assert found[:, 3].isnan().all()


def test_long_vectors_are_projected_onto_the_components_of_the_real_ones() -> None:
    """All variance is along two of five columns, which are not the first two."""
    rng = torch.Generator().manual_seed(0)
    real = torch.zeros(500, 5)
    real[:, 2] = 7 + 3 * torch.randn(500, generator=rng)
    real[:, 4] = torch.randn(500, generator=rng)
    points, labels = _projected(real, {"real": real, "generated": real + 1})
    assert points["real"].std(0).tolist() == pytest.approx([3, 1], rel=0.1)
    share = int(labels[0].removeprefix("principal component 1 (").removesuffix("%)"))
    assert share == pytest.approx(90, abs=3)
    moved = (points["generated"] - points["real"])[0].abs()
    assert moved.tolist() == pytest.approx([1, 1], abs=0.1)


@pytest.mark.parametrize("num_columns", [3, 100])
def test_vectors_show_real_beside_generated_in_axes_of_their_own(
    tmp_path: Path, num_columns: int
) -> None:
    """A constant column and values that are not finite are drawn, too."""
    real = 1e4 * torch.rand(300, num_columns, generator=torch.Generator().manual_seed(0))
    real[:, 0] = 5.0
    generated = real.flip(0).clone()
    generated[0, 1] = float("inf")
    save_samples(real, generated, tmp_path / "samples.png")
    grey = np.asarray(Image.open(tmp_path / "samples.png").convert("L"))
    height, width = grey.shape
    assert height > width
    rows = np.array_split(grey, 3)
    assert all((half < 250).mean() > 0.01 for row in rows for half in np.array_split(row, 2, 1))


def test_bytes_are_drawn_as_they_are(tmp_path: Path) -> None:
    """Every level comes back from its float: the first image shows the bytes themselves."""
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    save_samples(levels, as_floats(levels), tmp_path / "samples.png")
    pixels = np.asarray(Image.open(tmp_path / "samples.png"))
    scale = pixels.shape[0] // 17
    for left in (0, 17 + 4):
        shown = pixels[::scale, ::scale][:16, left : left + 16]
        assert np.array_equal(shown, levels[0, 0])


def test_pictures_of_large_images_are_about_a_thousand_pixels_high(tmp_path: Path) -> None:
    """64 images of 128 pixels, 16 of 256: each in its place, however many are given."""
    assert [num_drawn((3, side, side)) for side in (8, 32, 128, 256)] == [64, 64, 64, 16]
    images = torch.zeros(70, 1, 256, 256)
    save_samples(images, images, tmp_path / "samples.png")
    with Image.open(tmp_path / "samples.png") as picture:
        assert picture.size == (4 * 257 * 2 + 4, 4 * 257)


def test_vectors_of_one_number_are_drawn_along_a_line(tmp_path: Path) -> None:
    save_samples(torch.rand(50, 1), torch.rand(50, 1), tmp_path / "samples.png")
    grey = np.asarray(Image.open(tmp_path / "samples.png").convert("L"))
    assert (grey < 250).any()


def test_generated_images_alone_are_all_drawn_row_by_row(tmp_path: Path) -> None:
    """Five make a square of three columns and two rows, whose last place is empty."""
    images = torch.full((5, 1, 8, 8), -1.0)
    images[3] = 1.0
    save_generated(images, tmp_path / "grid.png")
    pixels = np.asarray(Image.open(tmp_path / "grid.png"))
    scale = pixels.shape[0] // 18
    expected = np.zeros((18, 27), dtype=np.uint8)
    expected[9:17, 0:8] = 255  # the second row's first
    np.testing.assert_array_equal(pixels[::scale, ::scale], expected)
    save_generated(images, tmp_path / "row.png", columns=5)
    with Image.open(tmp_path / "row.png") as picture:
        assert picture.width == 5 * picture.height


def test_generated_points_alone_are_one_scatter_plot(tmp_path: Path) -> None:
    save_generated(torch.rand(300, 3), tmp_path / "points.png")
    with Image.open(tmp_path / "points.png") as picture:
        assert picture.width == picture.height
