from pathlib import Path

import numpy as np
import torch
from PIL import Image

from trainables.pictures import save_samples


def test_images_keep_their_place_and_their_pixels(tmp_path: Path) -> None:
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
