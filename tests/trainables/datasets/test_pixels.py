"""Image files of every kind: their pixels are read as a viewer shows them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainables.datasets.pixels import read_pixels, strict_pillow

RAMP = np.arange(0, 256, 4, np.uint8).reshape(8, 8)
COLOUR = np.stack([RAMP, RAMP.T, 255 - RAMP], axis=2)


def test_an_image_of_the_right_size_is_read_pixel_for_pixel(tmp_path: Path) -> None:
    for suffix in (".png", ".bmp", ".tif"):
        Image.fromarray(COLOUR).save(tmp_path / f"a{suffix}")
        assert np.array_equal(read_pixels(tmp_path / f"a{suffix}", 8, 3), COLOUR.transpose(2, 0, 1))


def test_the_centre_is_cut_out_along_the_longer_side(tmp_path: Path) -> None:
    wide = np.zeros((8, 24), np.uint8)
    wide[:, 8:16] = RAMP
    Image.fromarray(wide).save(tmp_path / "wide.png")
    Image.fromarray(wide.T).save(tmp_path / "tall.png")
    assert np.array_equal(read_pixels(tmp_path / "wide.png", 8, 1)[0], RAMP)
    assert np.array_equal(read_pixels(tmp_path / "tall.png", 8, 1)[0], RAMP.T)


def test_a_fine_chequerboard_shrinks_to_grey_without_moire(tmp_path: Path) -> None:
    board = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
    Image.fromarray(board).save(tmp_path / "board.png")
    assert (
        np.abs(read_pixels(tmp_path / "board.png", 32, 1)[:, 2:-2, 2:-2].astype(int) - 127).max()
        < 4
    )


def test_an_image_is_rotated_by_its_exif_orientation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    Image.fromarray(RAMP).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_pixels(tmp_path / "a.png", 8, 1)[0], np.rot90(RAMP, -1))


def test_transparent_pixels_become_white(tmp_path: Path) -> None:
    """Half transparent black is half way to white; a palette's transparent colour too."""
    image = np.zeros((8, 8, 4), np.uint8)
    image[:4, :, 3], image[4:, :, 3] = 0, 128
    Image.fromarray(image).save(tmp_path / "a.png")
    pixels = read_pixels(tmp_path / "a.png", 8, 3)
    assert (pixels[:, :4] == 255).all()
    assert (np.abs(pixels[:, 4:].astype(int) - 127) <= 1).all()
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.paste(0, (0, 0, 8, 4))
    palette.save(tmp_path / "b.gif", transparency=1)
    pixels = read_pixels(tmp_path / "b.gif", 8, 3)
    assert pixels[:, 0, 0].tolist() == [10, 20, 30]
    assert pixels[:, 7, 0].tolist() == [255, 255, 255]


def test_palette_images_have_their_colours(tmp_path: Path) -> None:
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 200, 100, 50])
    palette.save(tmp_path / "a.png")
    assert read_pixels(tmp_path / "a.png", 8, 3)[:, 3, 3].tolist() == [200, 100, 50]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_become_the_nearest_eight(tmp_path: Path, suffix: str) -> None:
    values = (RAMP.astype(np.uint16) * 257) + 100
    Image.fromarray(values).save(tmp_path / f"a{suffix}")
    assert np.array_equal(read_pixels(tmp_path / f"a{suffix}", 8, 1)[0], RAMP)


def test_of_several_frames_the_first_is_read(tmp_path: Path) -> None:
    frames = [Image.new("L", (8, 8), value) for value in (40, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert (read_pixels(tmp_path / "a.gif", 8, 1) == 40).all()


def test_a_large_jpeg_is_read_nearly_as_if_decoded_in_full(tmp_path: Path) -> None:
    """Decoding at a fraction of the size changes smooth pixels by a few levels at most."""
    x, y = np.meshgrid(np.linspace(0, 6, 1200), np.linspace(0, 6, 900))
    Image.fromarray((127 + 120 * np.sin(x) * np.cos(y)).astype(np.uint8)).save(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as image:
        image.load()
        image.save(tmp_path / "a.png")
    fast, full = (read_pixels(tmp_path / f"a{s}", 16, 1).astype(int) for s in (".jpg", ".png"))
    assert np.abs(fast - full).max() <= 3


def test_pixels_of_unknown_range_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 1e6, np.float32)).save(tmp_path / "f.tif")
    Image.fromarray(np.full((8, 8), 10**6, np.int32)).save(tmp_path / "i.tif")
    with pytest.raises(ValueError, match="floating-point pixels have no known range"):
        read_pixels(tmp_path / "f.tif", 8, 1)
    with pytest.raises(ValueError, match="32-bit pixels have no known range"):
        read_pixels(tmp_path / "i.tif", 8, 1)


def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(RAMP).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60)
    with strict_pillow(), pytest.raises(Image.DecompressionBombWarning, match="64 pixels"):
        read_pixels(tmp_path / "a.png", 8, 1)
