"""A folder of images: what is found in it, what is left out, and what is decoded only once."""

import os
from pathlib import Path

import numpy as np
import pytest
from made_datasets import pixels, write_images
from PIL import Image

from trainables.config import DataConfig
from trainables.datasets.errors import BadData
from trainables.datasets.image_folder import load_image_folder

IMAGES = pixels(12, 8, 8, 3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_images(tmp_path / "images", IMAGES, ".png")
    return tmp_path / "images"


def read(folder: Path, cache_dir: Path | None = None, **options: object):
    """Pixels, notes and all that was said of the progress."""
    notes: list[str] = []
    said: list[tuple[int, int]] = []
    given = {"dataset": "image_folder", "path": str(folder), "side": 8, **options}
    config = DataConfig.model_validate(given)
    found = load_image_folder(config, cache_dir, lambda *done: said.append(done), notes.append)
    return found, notes, said


def test_images_come_in_the_order_of_their_names_and_are_counted(folder: Path) -> None:
    found, notes, said = read(folder)
    assert np.array_equal(found, IMAGES.transpose(0, 3, 1, 2))
    assert notes == []
    assert said == [(done, 12) for done in range(1, 13)]


def test_folders_below_are_searched_and_what_is_hidden_is_not(folder: Path) -> None:
    for name in ("deep/er/Z.PNG", "deep/.hidden.png", ".cache/a.png", "deep/notes.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(255 - IMAGES[0]).save(folder / name, "PNG")
    (folder / "loop").symlink_to(folder)
    (folder / "deep" / "again").symlink_to(folder / "deep" / "er")
    found, notes, _ = read(folder)
    assert len(found) == 13
    assert np.array_equal(found[-1], 255 - IMAGES[0].transpose(2, 0, 1))
    assert notes == []


def test_grey_is_one_channel(folder: Path) -> None:
    """ITU-R 601: 0.299 R + 0.587 G + 0.114 B."""
    found, _, _ = read(folder, channels=1)
    assert found.shape == (12, 1, 8, 8)
    assert np.abs(found[:, 0] - IMAGES @ [0.299, 0.587, 0.114]).max() <= 1


def test_files_that_cannot_be_read_are_named_counted_and_left_out(
    folder: Path, tmp_path: Path
) -> None:
    """Cut off, no image at all, or a link to nowhere; and from the cache as from the files."""
    cut = (folder / "000003.png").read_bytes()
    (folder / "000003.png").write_bytes(cut[: len(cut) // 2])
    (folder / "000007.png").write_text("not an image")
    (folder / "000012.png").symlink_to(folder / "nowhere.png")
    for _ in range(2):
        found, notes, _ = read(folder, tmp_path / "cache", max_corrupt_share=0.5)
        assert np.array_equal(found, np.delete(IMAGES, [3, 7], 0).transpose(0, 3, 1, 2))
        names = "000003.png, 000007.png, 000012.png"
        assert notes == [f"3 of 13 files could not be read and are left out: {names}"]


def test_too_many_files_that_cannot_be_read_are_refused(folder: Path) -> None:
    (folder / "000003.png").write_text("")
    match = r"must be at least 0.0833, as 1 of 12 files could not be read \(000003.png\), got 0.01"
    with pytest.raises(BadData, match=match) as caught:
        read(folder)
    assert caught.value.key == "max_corrupt_share"


def test_a_bomb_counts_as_unreadable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (300, 300)).save(folder / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 80_000)
    assert "bomb.png" in read(folder, max_corrupt_share=0.5)[1][0]


def test_images_are_decoded_once_and_again_where_a_file_or_setting_changes(
    folder: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    first, _, said = read(folder, cache)
    again, _, none_said = read(folder, cache)
    assert np.array_equal(first, again)
    assert len(said) == 12
    assert none_said == []
    assert len(read(folder, cache, side=9)[2]) == 12
    os.utime(folder / "000000.png", (1, 1))
    assert len(read(folder, cache)[2]) == 12
    (folder / "000000.png").unlink()
    assert len(read(folder, cache)[0]) == 11


def test_a_damaged_cache_is_noted_and_made_anew(folder: Path, tmp_path: Path) -> None:
    read(folder, tmp_path / "cache")
    (array,) = (tmp_path / "cache").glob("*.npy")
    array.write_bytes(array.read_bytes()[:-1] + b"\x00")
    damaged = array.read_bytes()
    found, notes, said = read(folder, tmp_path / "cache")
    assert np.array_equal(found, IMAGES.transpose(0, 3, 1, 2))
    assert "decoded anew" in notes[0] or damaged == array.read_bytes()
    assert len(said) == 12
    assert read(folder, tmp_path / "cache")[1:] == ([], [])


def test_a_path_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    for path, match in (
        (tmp_path, r"must have images \(.jpg, .*which has none: name another folder"),
        (tmp_path / "a.txt", "must be a folder of images, got .*a.txt, which is a file"),
        (tmp_path / "none", "must be a folder of images, got .*none, which is not there"),
    ):
        with pytest.raises(BadData, match=match) as caught:
            read(path)
        assert caught.value.key == "path"
