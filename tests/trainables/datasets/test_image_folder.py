"""A folder of images: which files are read, which are left out, and when they are decoded."""

import os
import re
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
    """Pixels, notes, and the arguments of every call of progress."""
    notes: list[str] = []
    counts: list[tuple[int, int]] = []
    given = {"dataset": "image_folder", "path": str(folder), "side": 8, **options}
    config = DataConfig.model_validate(given)
    images = load_image_folder(config, cache_dir, lambda *done: counts.append(done), notes.append)
    return images, notes, counts


def test_images_come_in_the_order_of_their_names_and_are_counted(folder: Path) -> None:
    images, notes, counts = read(folder)
    assert np.array_equal(images, IMAGES.transpose(0, 3, 1, 2))
    assert notes == []
    assert counts == [(done, 12) for done in range(1, 13)]


def test_subfolders_are_searched_and_hidden_files_are_not(folder: Path) -> None:
    for name in ("deep/er/Z.PNG", "deep/.hidden.png", ".cache/a.png", "deep/notes.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(255 - IMAGES[0]).save(folder / name, "PNG")
    (folder / "loop").symlink_to(folder)
    (folder / "deep" / "again").symlink_to(folder / "deep" / "er")
    images, notes, _ = read(folder)
    assert len(images) == 13
    assert np.array_equal(images[-1], 255 - IMAGES[0].transpose(2, 0, 1))
    assert notes == [f"{folder}: left out, as no images: 1 .txt"]


@pytest.mark.parametrize("suffix", [".ppm", ".jp2", ".tga", ".jfif", ".avif", ".dds"])
def test_every_format_that_pillow_decodes_is_read(folder: Path, suffix: str) -> None:
    Image.fromarray(IMAGES[0]).save(
        folder / f"a{suffix}", **{".jfif": {"format": "JPEG"}}.get(suffix, {})
    )
    images, notes, _ = read(folder)
    assert len(images) == 13
    assert notes == []


def test_what_is_left_out_is_counted_by_kind(folder: Path) -> None:
    for name in ("a.txt", "b.txt", "deep/c.TXT", "labels.csv", "README", "a.h5", "a.eps"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    _, notes, _ = read(folder)
    kinds = "3 .txt, 1 .csv, 1 .eps, 1 .h5, 1 without a suffix"
    assert notes == [f"{folder}: left out, as no images: {kinds}"]


def test_a_document_that_is_named_as_an_image_is_not_run(folder: Path) -> None:
    """Pillow goes by a file's content, and would pass PostScript on to Ghostscript."""
    Image.fromarray(IMAGES[0]).save(folder / "script.eps")
    (folder / "script.eps").rename(folder / "script.png")
    _, notes, _ = read(folder, max_corrupt_share=0.5)
    assert notes == ["1 of 13 files could not be read and are left out: script.png: not an image"]


@pytest.mark.timeout(60)
def test_a_pipe_named_as_an_image_is_left_out(folder: Path) -> None:
    os.mkfifo(folder / "pipe.jpg")
    (folder / "device.png").symlink_to("/dev/zero")
    images, notes, _ = read(folder)
    assert len(images) == 12
    assert notes == [f"{folder}: left out, as no images: 2 pipe, socket or device"]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("path", ["/proc", "/proc/self/task", "/sys"])
def test_folders_that_the_kernel_makes_up_are_refused(path: str) -> None:
    if not Path(path).is_dir():
        pytest.skip("not on this system")
    with pytest.raises(BadData, match="which the kernel makes up") as caught:
        read(Path(path))
    assert caught.value.key == "path"


@pytest.mark.timeout(60)
def test_links_to_folders_that_the_kernel_makes_up_are_not_followed(folder: Path) -> None:
    (folder / "processes").symlink_to("/proc")
    images, notes, _ = read(folder)
    assert len(images) == 12
    assert notes == []


def test_damaged_tiff_files_print_nothing(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    noise = Image.fromarray(pixels(64, 64, 3))
    noise.save(folder / "bad.tif", compression="tiff_lzw")
    content = bytearray((folder / "bad.tif").read_bytes())
    for place in range(200, len(content) - 200, 37):
        content[place] ^= 255
    (folder / "bad.tif").write_bytes(content)
    _, notes, _ = read(folder, max_corrupt_share=0.5)
    (note,) = notes
    assert note.startswith("1 of 13 files could not be read and are left out: bad.tif: ")
    assert capfd.readouterr() == ("", "")


def test_grey_is_one_channel(folder: Path) -> None:
    """ITU-R 601: 0.299 R + 0.587 G + 0.114 B."""
    images, _, _ = read(folder, channels=1)
    assert images.shape == (12, 1, 8, 8)
    assert np.abs(images[:, 0] - IMAGES @ [0.299, 0.587, 0.114]).max() <= 1


def test_files_that_cannot_be_read_are_named_counted_and_left_out(
    folder: Path, tmp_path: Path
) -> None:
    """Truncated, not an image, or a broken link; from the cache as from the files."""
    cut = (folder / "000003.png").read_bytes()
    (folder / "000003.png").write_bytes(cut[: len(cut) // 2])
    (folder / "000007.png").write_text("not an image")
    (folder / "000012.png").symlink_to(folder / "nowhere.png")
    for _ in range(2):
        images, notes, _ = read(folder, tmp_path / "cache", max_corrupt_share=0.5)
        assert np.array_equal(images, np.delete(IMAGES, [3, 7], 0).transpose(0, 3, 1, 2))
        faults = "000003.png: .*, 000007.png: not an image, 000012.png: No such file or directory"
        (note,) = notes
        assert re.fullmatch(f"3 of 13 files could not be read and are left out: {faults}", note)


def test_too_many_files_that_cannot_be_read_are_refused(folder: Path) -> None:
    (folder / "000003.png").write_text("")
    match = r"must be at least 0.0833, as 1 of 12 files .* \(000003.png: not an image\), got 0.01"
    with pytest.raises(BadData, match=match) as caught:
        read(folder)
    assert caught.value.key == "max_corrupt_share"


def test_a_folder_without_a_readable_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"a web page")
    with pytest.raises(
        BadData, match=r"1 of 1 files could not be read \(a.png: not an image\)"
    ) as e:
        read(tmp_path)
    assert e.value.key == "path"


def test_a_decompression_bomb_counts_as_unreadable(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (300, 300)).save(folder / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 80_000)
    assert "bomb.png" in read(folder, max_corrupt_share=0.5)[1][0]


def test_images_are_decoded_once_and_again_after_a_file_or_setting_changes(
    folder: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    first, _, counts = read(folder, cache)
    again, _, no_counts = read(folder, cache)
    assert np.array_equal(first, again)
    assert len(counts) == 12
    assert no_counts == []
    assert len(read(folder, cache, side=9)[2]) == 12
    os.utime(folder / "000000.png", (1, 1))
    assert len(read(folder, cache)[2]) == 12
    (folder / "000000.png").unlink()
    assert len(read(folder, cache)[0]) == 11


def test_a_damaged_cache_is_noted_and_written_again(folder: Path, tmp_path: Path) -> None:
    read(folder, tmp_path / "cache")
    (array,) = (tmp_path / "cache").glob("*.npy")
    array.write_bytes(array.read_bytes()[:-1] + b"\x00")
    damaged = array.read_bytes()
    images, notes, counts = read(folder, tmp_path / "cache")
    assert np.array_equal(images, IMAGES.transpose(0, 3, 1, 2))
    assert "decoding again" in notes[0] or damaged == array.read_bytes()
    assert len(counts) == 12
    assert read(folder, tmp_path / "cache")[1:] == ([], [])


def test_a_path_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    for path, match in (
        (tmp_path, r"must have images \(.jpg, .*which has none \(1 .txt\): name another"),
        (tmp_path / "a.txt", "must be a folder of images, got .*a.txt, which is a file"),
        (tmp_path / "none", "must be a folder of images, got .*none, which does not exist"),
    ):
        with pytest.raises(BadData, match=match) as caught:
            read(path)
        assert caught.value.key == "path"
